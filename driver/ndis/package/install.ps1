# Installs the filter. Run as administrator. Safe to run again.
#
# Inserting a filter pauses every network stack: connections are interrupted for a moment, remote sessions too.
param(
    [switch]$Mandatory,                 # no filter, no network: a driver that does not load tears the stack down
    [ValidateSet('pass', 'block')]
    [string]$BootPolicy = 'pass',       # what holds until the first rules are loaded
    [switch]$Yes                        # does not ask
)
$ErrorActionPreference = 'Stop'
$inf = Join-Path $PSScriptRoot 'planb.inf'
if (-not $Yes) {
    Write-Warning 'Every network connection of this computer is interrupted for a moment, this session too if it is remote.'
    if ((Read-Host 'Go on? [y/N]') -notmatch '^[yY]') { exit 1 }
}
if ((netcfg -s n | Out-String) -notmatch 'planb_filter') {
    netcfg -v -l $inf -c s -i planb_filter
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE (see C:\Windows\INF\setupapi.dev.log)" }
}
$policy = @{ pass = 0; block = 1 }[$BootPolicy]
$service = 'HKLM:\SYSTEM\CurrentControlSet\Services\planb'
New-Item -Path "$service\Parameters" -Force | Out-Null
Set-ItemProperty -Path "$service\Parameters" -Name BootPolicy -Type DWord -Value $policy
$network = 'HKLM:\SYSTEM\CurrentControlSet\Control\Network\{4D36E974-E325-11CE-BFC1-08002BE10318}'
$ndi = "$network\{6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10}\Ndi"
if (Test-Path $ndi) {
    Set-ItemProperty -Path $ndi -Name FilterRunType -Type DWord -Value $(if ($Mandatory) { 1 } else { 2 })
}
sc.exe query planb
Write-Host 'Installed. Load rules: pfload -f pf.conf'
