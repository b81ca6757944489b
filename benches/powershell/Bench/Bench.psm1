# What both clients ask the same engine for: a stand-in for one cmdlet, in the shape of its help page, and a long answer.
function Get-CsPersistentChatState {
    [CmdletBinding()] param([switch]$LocalStore)
    [pscustomobject]@{
        PSTypeName = 'Microsoft.Rtc.Management.WritableConfig.Settings.PersistentChat.PersistentChatState'
        Identity   = 'PersistentChatServer:chat.litwareinc.com'
        PoolState  = 'Normal'
    }
}
function Get-Many {
    [CmdletBinding()] param([int]$Count)
    foreach ($n in 1..$Count) { [pscustomobject]@{ Number = $n; Name = "server-$n.litwareinc.com"; UpToDate = $true } }
}
function Write-Flood {
    [CmdletBinding()] param([int]$Megabytes)
    $text = 'x' * 65536
    foreach ($n in 1..($Megabytes * 16)) { $text }
}
