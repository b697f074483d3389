# Installs the intermediate driver. Run as administrator. Safe to run again.
#
# Every adapter gets a virtual one above it; TCP/IP and other protocols move there. Connections are interrupted, remote
# sessions too. The filter (install.ps1) and the intermediate driver exclude each other: both are \\.\PlanB.
param(
    [ValidateSet('pass', 'block', 'last')]
    [string]$BootPolicy = 'pass',       # what holds until rules are loaded: everything, ARP alone, the last good rules
    [switch]$Yes                        # does not ask
)
$ErrorActionPreference = 'Stop'
if ($env:PROCESSOR_ARCHITECTURE -ne 'AMD64') { throw 'The intermediate driver is for x64 alone: install.ps1 has the filter.' }
if ((netcfg -s n | Out-String) -match 'planb_filter') { throw 'The filter is installed: uninstall.ps1 first.' }
if (-not $Yes) {
    Write-Warning 'Every network connection of this computer is interrupted, this session too if it is remote.'
    if ((Read-Host 'Go on? [y/N]') -notmatch '^[yY]') { exit 1 }
}
if ((netcfg -s n | Out-String) -notmatch 'planb_im\b') {
    netcfg -v -l (Join-Path $PSScriptRoot 'x64\planbim.inf') -c p -i planb_im
    if ($LASTEXITCODE -ne 0) { throw "netcfg: $LASTEXITCODE (see C:\Windows\INF\setupapi.dev.log)" }
}
$parameters = 'HKLM:\SYSTEM\CurrentControlSet\Services\planbimmp\Parameters'
New-Item -Path $parameters -Force | Out-Null
Set-ItemProperty -Path $parameters -Name BootPolicy -Type DWord -Value @{ pass = 0; block = 1; last = 2 }[$BootPolicy]
# Bindings that were there before the driver: what is not a filter leaves the adapters below.
Get-NetAdapter -Physical | Where-Object { (Get-NetAdapterBinding -Name $_.Name -ComponentID planb_im -ErrorAction SilentlyContinue).Enabled } |
    ForEach-Object {
        Get-NetAdapterBinding -Name $_.Name |
            Where-Object { $_.ComponentID -ne 'planb_im' -and $_.ComponentClassName -in 'Transport', 'Client' -and $_.Enabled } |
            ForEach-Object { Disable-NetAdapterBinding -Name $_.Name -ComponentID $_.ComponentID }
    }
sc.exe query planbimmp
Write-Host 'Installed. Load rules: pfload -f pf.conf'
