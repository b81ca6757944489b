# PowerShell's own client, in a session that is open: milliseconds of the median of so many short commands, and of one long answer.
param([int]$Times, [int]$Objects)
$ErrorActionPreference = 'Stop'
$session = New-PSSession -HostName engine
function Invoke-Timed([string]$Name, [hashtable]$Parameters) {
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    $shell = [powershell]::Create()
    $shell.Runspace = $session.Runspace
    $null = $shell.AddCommand($Name).AddParameters($Parameters)
    $answer = $shell.Invoke()
    $shell.Dispose()
    $watch.Stop()
    [pscustomobject]@{ Milliseconds = $watch.Elapsed.TotalMilliseconds; Count = $answer.Count }
}
foreach ($n in 1..5) { $null = Invoke-Timed 'Get-CsPersistentChatState' @{} }
$short = foreach ($n in 1..$Times) { (Invoke-Timed 'Get-CsPersistentChatState' @{}).Milliseconds }
$long = Invoke-Timed 'Get-Many' @{ Count = $Objects }
if ($long.Count -ne $Objects) { throw "$($long.Count) objects" }
$short = @($short | Sort-Object)
"{0} {1}" -f $short[[int]($Times / 2)].ToString([cultureinfo]::InvariantCulture), $long.Milliseconds.ToString([cultureinfo]::InvariantCulture)
Remove-PSSession $session
