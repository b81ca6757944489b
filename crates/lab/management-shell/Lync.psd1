@{
    RootModule        = 'Lync.psm1'
    ModuleVersion     = '1.0'
    GUID              = '3a8c2c5e-52f5-4a0e-9d35-64b6d5a1f1c2'
    Description       = 'SIMULATED cmdlets of Lync Server / Skype for Business Server: they ask pcf-lab. No Lync is behind them.'
    PowerShellVersion = '7.4'
    FunctionsToExport = @(
        'Get-CsPersistentChatState', 'Set-CsPersistentChatState', 'Get-CsService', 'Set-CsPersistentChatActiveServer',
        'Get-CsManagementStoreReplicationStatus', 'Get-CsWindowsService', 'Test-CsDatabase', 'Install-CsMirrorDatabase',
        'Stop-CsWindowsService', 'Start-CsWindowsService', 'Test-NetConnection')
    CmdletsToExport   = @()
    AliasesToExport   = @()
    VariablesToExport = @()
}
