# Takes Plan B away: service, driver, commands, settings. Run as administrator. Safe to run again.
#
# Removing a filter pauses every network stack, as inserting one does.
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
}
if ((netcfg -s n | Out-String) -match 'planb_filter') {
    netcfg -v -u planb_filter
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE" }
}
# The package stays in the driver store until it is deleted there.
Get-WindowsDriver -Online |
    Where-Object { $_.OriginalFileName -match '\\planb\.inf$' } |
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
