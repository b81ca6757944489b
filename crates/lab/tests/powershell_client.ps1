# What PowerShell's own client makes of the lab's server: one line of JSON for each thing that was tried.
# A program called ssh on the PATH is the server.
$ErrorActionPreference = 'Stop'
$identity = 'PersistentChatServer:chat.litwareinc.com'

function Write-Found([string] $what, $found) {
    [Console]::Out.WriteLine((ConvertTo-Json -Compress -Depth 6 @{ what = $what; found = $found }))
}

# A command by its name in a runspace.
function New-Command([runspace] $where, [string] $name, [hashtable] $parameters = @{}) {
    $ps = [powershell]::Create().AddCommand($name)
    foreach ($p in $parameters.GetEnumerator()) { [void] $ps.AddParameter($p.Key, $p.Value) }
    $ps.Runspace = $where
    return $ps
}

function Get-Error($ps, $thrown) {
    $records = @($ps.Streams.Error)
    $record = if ($null -ne $thrown) { $thrown } else { $records[0] }
    return @{
        id = $record.FullyQualifiedErrorId; category = "$($record.CategoryInfo.Category)"; reason = $record.CategoryInfo.Reason
        message = "$record"; written = $records.Count; state = "$($ps.InvocationStateInfo.State)"
    }
}

$session = New-PSSession -HostName lab -UserName pcf
Write-Found 'session' @{
    state = "$($session.State)"; version = "$($session.ApplicationPrivateData.PSVersionTable.PSVersion)"
    availability = "$($session.Availability)"
}
$runspace = $session.Runspace

$ps = New-Command $runspace 'Get-CsService' @{ PersistentChatServer = $true }
$service = @($ps.Invoke())
Write-Found 'answers' @{
    count = $service.Count; type = $service[0].PSObject.TypeNames[0]; identity = $service[0].Identity; pool = $service[0].PoolFqdn
    active = @($service[0].ActiveServers); version = $service[0].Version; state = "$($ps.InvocationStateInfo.State)"
}

$ps = New-Command $runspace 'Get-CsPersistentChatState'
$state = @($ps.Invoke())
Write-Found 'enumeration' @{ shown = $state[0].PoolState.Value; value = [int] $state[0].PoolState; identity = $state[0].Identity }

# An error that the cmdlet writes, one that ends it, a command that is not there, and script text.
$ps = New-Command $runspace 'Set-CsPersistentChatState' @{ Identity = 'service:other'; PoolState = 'Normal'; Confirm = $false }
[void] $ps.Invoke()
Write-Found 'writes an error' (Get-Error $ps)
foreach ($name in 'Set-CsPersistentChatState', 'Get-Nothing') {
    $parameters = if ($name -like 'Set*') { @{ Identity = $identity; PoolState = 'Normal' } } else { @{} }
    $ps = New-Command $runspace $name $parameters
    try { [void] $ps.Invoke(); $thrown = $null } catch { $thrown = $_.Exception.InnerException.ErrorRecord }
    Write-Found "fails: $name" (Get-Error $ps $thrown)
}
try { Invoke-Command -Session $session { 1 + 1 }; $thrown = $null } catch { $thrown = $_ }
Write-Found 'script' @{ id = "$($thrown.FullyQualifiedErrorId)"; message = "$thrown" }

$ps = New-Command $runspace 'Test-CsDatabase' @{ DatabaseType = 'PersistentChat'; SqlServerFqdn = 'nowhere.litwareinc.com' }
$ps.Streams.Warning.Clear()
$test = @($ps.Invoke())
Write-Found 'warns' @{ warnings = @($ps.Streams.Warning | ForEach-Object { $_.Message }); objects = $test.Count; errors = $ps.Streams.Error.Count }

# One that takes long is stopped.
$install = @{
    DatabaseType = 'PersistentChat'; SqlServerFqdn = 'atl-sql-1.litwareinc.com'; FileShare = '\\atlanta\mirror'; Confirm = $false
}
$ps = New-Command $runspace 'Install-CsMirrorDatabase' $install
$began = [Diagnostics.Stopwatch]::StartNew()
$pending = $ps.BeginInvoke()
Start-Sleep -Milliseconds 300
$ps.Stop()
try { [void] $ps.EndInvoke($pending); $thrown = 'nothing' } catch { $thrown = $_.Exception.InnerException.GetType().Name }
Write-Found 'stops' @{ state = "$($ps.InvocationStateInfo.State)"; thrown = $thrown; soon = $began.ElapsedMilliseconds -lt 5000 }

# The runspace goes on afterwards.
$ps = New-Command $runspace 'Get-CsPersistentChatState'
Write-Found 'goes on' @{ count = @($ps.Invoke()).Count }
Remove-PSSession $session
Write-Found 'closed' @{ state = "$($session.State)" }

# Two at once, in two sessions: over SSH PowerShell has no pools.
$sessions = 1..2 | ForEach-Object { New-PSSession -HostName lab -UserName pcf }
$began = [Diagnostics.Stopwatch]::StartNew()
$two = $sessions | ForEach-Object {
    $ps = New-Command $_.Runspace 'Get-CsManagementStoreReplicationStatus'
    @{ ps = $ps; pending = $ps.BeginInvoke() }
}
$counts = @($two | ForEach-Object { @($_.ps.EndInvoke($_.pending)).Count })
Write-Found 'two at once' @{ counts = $counts; milliseconds = $began.ElapsedMilliseconds }
$sessions | Remove-PSSession
Write-Found 'both closed' @{ states = @($sessions | ForEach-Object { "$($_.State)" }) }
