# Takes the filter away. Run as administrator. Safe to run again.
#
# Removing a filter pauses every network stack, as inserting one does.
param([switch]$Yes)
$ErrorActionPreference = 'Stop'
if (-not $Yes) {
    Write-Warning 'Every network connection of this computer is interrupted for a moment, and nothing is filtered afterwards.'
    if ((Read-Host 'Go on? [y/N]') -notmatch '^[yY]') { exit 1 }
}
if ((netcfg -s n | Out-String) -match 'planb_filter') {
    netcfg -v -u planb_filter
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE" }
}
# The package stays in the driver store until it is deleted there.
Get-WindowsDriver -Online -All |
    Where-Object { $_.OriginalFileName -match '\\planb\.inf$' } |
    ForEach-Object { pnputil /delete-driver $_.Driver }
