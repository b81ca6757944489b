@{
    RootModule        = 'Bench.psm1'
    ModuleVersion     = '1.0'
    GUID              = '5b6c1d58-5a83-4c0e-9a5c-3f6a4a0a7b11'
    FunctionsToExport = @('Get-CsPersistentChatState', 'Get-Many', 'Write-Flood')
    CmdletsToExport   = @()
    AliasesToExport   = @()
}
