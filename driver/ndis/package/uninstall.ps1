# Takes Plan B away: service, driver, commands, settings. Run as administrator. Safe to run again.
#
# Removing a filter pauses every network stack, as inserting one does. Protocols that were on the intermediate driver's
# virtual adapters go back to those below.
param(
    [string]$Destination = (Join-Path $env:ProgramFiles 'PlanB'),
    [switch]$Yes                        # does not ask
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2
$me = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) { throw 'run this as administrator' }
if (-not $Yes) {
    Write-Warning 'Every network connection of this computer is interrupted for a moment, and nothing is filtered afterwards.'
    if ((Read-Host 'Go on? [y/N]') -notmatch '^[yY]') { exit 1 }
}

if (Get-Service planbsvc -ErrorAction Ignore) {
    Stop-Service planbsvc
    sc.exe delete planbsvc | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "sc.exe delete: $LASTEXITCODE" }
}
$installed = netcfg -s n | Out-String
if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE" }
foreach ($component in 'planb_filter', 'planb_im') {
    if ($installed -notmatch "$component\b") { continue }
    netcfg -v -u $component
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE" }
    if ($component -eq 'planb_im') {
        foreach ($adapter in Get-NetAdapter -Physical) {
            Enable-NetAdapterBinding -Name $adapter.Name -ErrorAction SilentlyContinue `
                -ComponentID 'ms_tcpip', 'ms_tcpip6', 'ms_msclient', 'ms_server'
        }
    }
}
# The packages stay in the driver store until they are deleted there.
Get-WindowsDriver -Online |
    Where-Object { $_.OriginalFileName -match '\\planb(im|im_mp)?\.inf$' } |
    ForEach-Object { pnputil /delete-driver $_.Driver }

# The rules kept for the next start.
foreach ($name in 'planb.good', 'planb.good.new') {
    $file = Join-Path $env:SystemRoot "System32\drivers\$name"
    if (Test-Path $file) { Remove-Item $file }
}

# The ports Windows gave its sockets before.
$own = 'HKLM:\SOFTWARE\PlanB'
if (Test-Path $own) {
    foreach ($family in 'ipv4', 'ipv6') {
        foreach ($proto in 'tcp', 'udp') {
            $was = (Get-ItemProperty $own -Name "DynamicPorts-$family-$proto" -ErrorAction Ignore)
            if ($was) {
                $start, $count = $was."DynamicPorts-$family-$proto" -split ','
                netsh interface $family set dynamicport $proto start=$start num=$count store=persistent | Out-Null
            }
        }
    }
    Remove-Item $own -Recurse
}

$path = [Environment]::GetEnvironmentVariable('Path', 'Machine')
$rest = ($path -split ';' | Where-Object { $_ -and $_ -ne $Destination }) -join ';'
if ($rest -ne $path.TrimEnd(';')) { [Environment]::SetEnvironmentVariable('Path', $rest, 'Machine') }
foreach ($name in 'pfload.exe', 'pfc.exe', 'pfsim.exe', 'planbsvc.log') {
    $file = Join-Path $Destination $name
    if (Test-Path $file) { Remove-Item $file }
}
if ((Test-Path $Destination) -and -not (Get-ChildItem $Destination)) { Remove-Item $Destination }
Write-Host 'Removed.'
