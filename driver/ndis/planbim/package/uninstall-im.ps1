# Takes the intermediate driver away. Run as administrator. Safe to run again.
#
# Protocols go back to the adapters they were on; connections are interrupted.
param([switch]$Yes)
$ErrorActionPreference = 'Stop'
if (-not $Yes) {
    Write-Warning 'Every network connection of this computer is interrupted, and nothing is filtered afterwards.'
    if ((Read-Host 'Go on? [y/N]') -notmatch '^[yY]') { exit 1 }
}
if ((netcfg -s n | Out-String) -match 'planb_im\b') {
    netcfg -v -u planb_im
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE" }
}
Get-NetAdapter -Physical | ForEach-Object { Enable-NetAdapterBinding -Name $_.Name -ComponentID ms_tcpip, ms_tcpip6, ms_msclient, ms_server -ErrorAction SilentlyContinue }
# The packages stay in the driver store until they are deleted there.
Get-WindowsDriver -Online -All |
    Where-Object { $_.OriginalFileName -match '\\planbim(_mp)?\.inf$' } |
    ForEach-Object { pnputil /delete-driver $_.Driver }
