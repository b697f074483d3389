# Installs Plan B: driver, commands, service. Run as administrator. Safe to run again: what is there is brought in line.
#
# Inserting a filter pauses every network stack: connections are interrupted for a moment, remote sessions too. With the
# intermediate driver every adapter gets a virtual one above it, where TCP/IP and other protocols move. Both drivers are
# \\.\PlanB, so there is one or the other.
param(
    [switch]$Intermediate,              # the intermediate driver instead of the filter: docs\windows-im.md
    [switch]$Mandatory,                 # no filter, no network: a driver that does not load tears the stack down
    [ValidateSet('pass', 'block', 'last')]
    [string]$BootPolicy = 'pass',       # what holds until rules are loaded: everything, ARP alone, the last good rules
    [switch]$KeepDynamicPorts,          # leaves the range Windows takes ports from as it is (see below)
    [string]$Destination = (Join-Path $env:ProgramFiles 'PlanB'),
    [switch]$Yes                        # does not ask
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2

# What can be found out before anything is changed.
$me = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) { throw 'run this as administrator' }
$build = [Environment]::OSVersion.Version.Build
if ($build -lt 17763) { throw "Windows build $build; 17763 (1809) or newer is needed" }
$machine = (Get-ItemProperty 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Environment').PROCESSOR_ARCHITECTURE
$folder = @{ AMD64 = 'x64'; ARM64 = 'ARM64' }[$machine]
if (-not $folder) { throw "no driver for $machine" }
$driver = Join-Path $PSScriptRoot $folder
if ($Intermediate) {
    if ($Mandatory) { throw 'the intermediate driver is always mandatory: without it its adapters have no protocols' }
    $component, $other, $kind, $inf = 'planb_im', 'planb_filter', 'p', (Join-Path $driver 'planbim.inf')
    $files = 'planbim.inf', 'planbim_mp.inf', 'planbim.sys', 'planbnot.dll', 'planbim.cat', 'planbim_mp.cat'
    # Windows starts the driver as its virtual devices' service.
    $service = 'HKLM:\SYSTEM\CurrentControlSet\Services\planbimmp'
} else {
    $component, $other, $kind, $inf = 'planb_filter', 'planb_im', 's', (Join-Path $driver 'planb.inf')
    $files = 'planb.inf', 'planb.sys', 'planb.cat'
    $service = 'HKLM:\SYSTEM\CurrentControlSet\Services\planb'
}
foreach ($file in $files) {
    if (-not (Test-Path (Join-Path $driver $file))) {
        throw "$file is not in $driver; the catalogue of a package that was built on Linux is made by test-sign.ps1"
    }
}
$installed = netcfg -s n | Out-String
if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE" }
if ($installed -match "$other\b") { throw "$other is installed: run uninstall.ps1 first" }
$network = 'HKLM:\SYSTEM\CurrentControlSet\Control\Network\{4D36E974-E325-11CE-BFC1-08002BE10318}'
$ndi = "$network\{6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10}\Ndi"
$own = 'HKLM:\SOFTWARE\PlanB'

if (-not $Yes) {
    Write-Warning 'Every network connection of this computer is interrupted for a moment, this session too if it is remote.'
    if ($Mandatory) { Write-Warning 'Mandatory: if the driver cannot be loaded, this computer has no network.' }
    if ($BootPolicy -eq 'block') { Write-Warning 'Block: until rules are loaded nothing passes, remote sessions neither.' }
    if ((Read-Host 'Go on? [y/N]') -notmatch '^[yY]') { exit 1 }
}

# The commands; the service runs one of them.
if (Get-Service planbsvc -ErrorAction Ignore) { Stop-Service planbsvc }
New-Item -ItemType Directory -Path $Destination -Force | Out-Null
Copy-Item (Join-Path $PSScriptRoot "bin\$folder\*.exe") $Destination -Force
$path = [Environment]::GetEnvironmentVariable('Path', 'Machine')
if (($path -split ';') -notcontains $Destination) {
    [Environment]::SetEnvironmentVariable('Path', ($path.TrimEnd(';') + ';' + $Destination), 'Machine')
}

# Translations take ports 50001 to 65535, Windows gives its sockets 49152 to 65535: the host's range is moved below, so
# that no port is both. With -KeepDynamicPorts the driver is told that all of that range is the host's, and rules that
# translate must name other ports (nat-to ... port 20000:32767).
if (-not (Test-Path $own)) { New-Item -Path $own | Out-Null } # New-Item -Force would empty a key that is there
if (-not $KeepDynamicPorts) {
    foreach ($family in 'ipv4', 'ipv6') {
        foreach ($proto in 'tcp', 'udp') {
            $numbers = [regex]::Matches((netsh interface $family show dynamicport $proto | Out-String), ':\s*(\d+)')
            $name = "DynamicPorts-$family-$proto"
            if ($numbers.Count -ge 2 -and -not (Get-ItemProperty $own -Name $name -ErrorAction Ignore)) {
                $value = $numbers[0].Groups[1].Value + ',' + $numbers[1].Groups[1].Value
                Set-ItemProperty -Path $own -Name $name -Type String -Value $value
            }
            netsh interface $family set dynamicport $proto start=32768 num=17232 store=persistent | Out-Null
            if ($LASTEXITCODE -ne 0) { throw "netsh: dynamic ports of $family $proto" }
        }
    }
}

# The driver.
if ($installed -notmatch "$component\b") {
    netcfg -v -l $inf -c $kind -i $component
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE (see C:\Windows\INF\setupapi.dev.log)" }
} else {
    Write-Host 'The driver is installed already; for another version run uninstall.ps1 first.'
}
if ($Intermediate) {
    # Bindings that were there before the driver: what is not a filter leaves the adapters below.
    foreach ($adapter in Get-NetAdapter -Physical) {
        $bindings = @(Get-NetAdapterBinding -Name $adapter.Name | Where-Object { $_.Enabled })
        if (-not ($bindings | Where-Object { $_.ComponentID -eq $component })) { continue }
        $bindings | Where-Object { $_.ComponentID -ne $component -and $_.ComponentClassName -in 'Transport', 'Client' } |
            ForEach-Object { Disable-NetAdapterBinding -Name $adapter.Name -ComponentID $_.ComponentID }
    }
}
# What holds from the next start of the driver until rules are loaded.
$policy = @{ pass = 0; block = 1; last = 2 }[$BootPolicy]
if (-not (Test-Path "$service\Parameters")) { New-Item -Path "$service\Parameters" | Out-Null }
Set-ItemProperty -Path "$service\Parameters" -Name BootPolicy -Type DWord -Value $policy
if (-not $Intermediate -and (Test-Path $ndi)) {
    Set-ItemProperty -Path $ndi -Name FilterRunType -Type DWord -Value $(if ($Mandatory) { 1 } else { 2 })
}

# The service that tells the driver of interfaces, addresses, routes and ports.
$command = '"{0}" service' -f (Join-Path $Destination 'pfload.exe')
if (Get-Service planbsvc -ErrorAction Ignore) {
    Set-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Services\planbsvc' -Name ImagePath -Value $command
} else {
    $about = 'Keeps the packet filter told of interfaces, addresses, routes and ports.'
    New-Service -Name planbsvc -DisplayName 'Plan B host facts' -Description $about -BinaryPathName $command `
        -StartupType Automatic | Out-Null
}
# The filter is started first. The intermediate driver is its devices' to start: the service looks for it until it is there.
sc.exe config planbsvc depend= $(if ($Intermediate) { '/' } else { 'planb' }) | Out-Null
if ($LASTEXITCODE -ne 0) { throw "sc.exe config: $LASTEXITCODE" }
sc.exe failure planbsvc reset= 86400 actions= restart/5000/restart/5000/restart/60000 | Out-Null
if ($LASTEXITCODE -ne 0) { throw "sc.exe failure: $LASTEXITCODE" }
Start-Service planbsvc

& (Join-Path $Destination 'pfload.exe') doctor
Write-Host 'Installed. Load rules: pfload -f pf.conf'
