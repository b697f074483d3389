# For test machines: trusts the certificate this package is signed with and makes the catalogues the package lacks, which
# only Windows can make. Run as administrator, with test signing on (bcdedit /set testsigning on; Secure Boot off; restart).
#
# Needs inf2cat.exe and signtool.exe of the WDK and the SDK. Whoever holds the certificate's key can sign drivers this
# machine loads: take it away again when you are done (certlm.msc, "Plan B test").
param([string]$Kit = "${env:ProgramFiles(x86)}\Windows Kits\10\bin")
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2
$me = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) { throw 'run this as administrator' }
$tool = {
    param($name)
    $found = Get-ChildItem $Kit -Recurse -Filter $name -ErrorAction Ignore | Sort-Object FullName | Select-Object -Last 1
    if (-not $found) { throw "$name is not below $Kit" }
    $found.FullName
}
$inf2cat = & $tool 'inf2cat.exe'
$signtool = & $tool 'signtool.exe'
$subject = 'CN=Plan B test catalogue'
$own = Get-ChildItem Cert:\LocalMachine\My | Where-Object { $_.Subject -eq $subject } | Select-Object -First 1
if (-not $own) {
    $own = New-SelfSignedCertificate -Type CodeSigningCert -Subject $subject -CertStoreLocation Cert:\LocalMachine\My
}
$file = Join-Path $env:TEMP 'planb-catalogue.cer'
Export-Certificate -Cert $own -FilePath $file | Out-Null
foreach ($certificate in $file, (Join-Path $PSScriptRoot 'planb-test.cer')) {
    foreach ($store in 'Root', 'TrustedPublisher') {
        Import-Certificate -FilePath $certificate -CertStoreLocation "Cert:\LocalMachine\$store" | Out-Null
    }
}
foreach ($target in @{ Folder = 'x64'; Systems = '10_X64,ServerRS5_X64' }, @{ Folder = 'ARM64'; Systems = '10_RS5_ARM64' }) {
    $folder = Join-Path $PSScriptRoot $target.Folder
    if (-not (Test-Path $folder)) { continue }
    & $inf2cat /driver:$folder "/os:$($target.Systems)" /verbose
    if ($LASTEXITCODE -ne 0) { throw "inf2cat: $LASTEXITCODE" }
    foreach ($catalogue in Get-ChildItem $folder -Filter *.cat) {
        & $signtool sign /sm /s My /fd SHA256 /sha1 $own.Thumbprint $catalogue.FullName
        if ($LASTEXITCODE -ne 0) { throw "signtool: $LASTEXITCODE" }
    }
}
Write-Host 'Trusted and catalogued. Now: .\install.ps1'
