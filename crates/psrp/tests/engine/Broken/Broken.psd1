@{ RootModule = 'Broken.psm1'; ModuleVersion = '1.0'; GUID = '0f4f6a1c-7b1e-4b57-8a5e-6a0c0b8f2d22'; CmdletsToExport = @(); AliasesToExport = @(); FunctionsToExport = @('Get-Broken') }
