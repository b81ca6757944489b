# SIMULATED cmdlets of Lync Server / Skype for Business Server, for a Management Shell of pcf-lab that is a real PowerShell.
#
# No Lync is behind them: what they do, the lab does, which they ask over a socket ($PCF_LAB_SOCKET; one line of JSON there, one
# back). What is here is what PowerShell itself does with a cmdlet: parameters and their sets as the help pages give them, prompts,
# objects, warnings, progress, error records of real exceptions, and that a pipeline can be stopped.

Set-StrictMode -Version 3

class Fqdn {
    [string] $Text
    Fqdn([string] $text) {
        if ($text -notmatch '^[A-Za-z0-9._-]+$') { throw "'$text' is not a valid FQDN" }
        $this.Text = $text
    }
    [string] ToString() { return $this.Text }
}

class XdsIdentity {
    [string] $Text
    XdsIdentity([string] $text) { $this.Text = $text }
    [string] ToString() { return $this.Text }
}

enum PoolState { Normal; FailedOver }

enum DatabaseNameType {
    ActiveMonitoring; Application; Archiving; CentralMgmt; Edge; Lyss; Monitoring; PersistentChat; PersistentChatCompliance
    Provision; Registrar; SigninTelemetry; User
}

# What the lab gets of a parameter.
function ConvertTo-Plain($value) {
    if ($null -eq $value) { return $null }
    if ($value -is [switch]) { return $value.IsPresent }
    if ($value -is [bool] -or $value -is [int] -or $value -is [string]) { return $value }
    if ($value.GetType().Name -eq 'PSListModifier`1') {
        $plain = [System.Collections.Generic.Dictionary[string, object]]::new()
        foreach ($part in 'Replace', 'Add', 'Remove') {
            $list = [string[]] @(foreach ($item in $value.$part) { "$item" })
            if ($list.Count -gt 0) { $plain[$part] = $list }
        }
        return $plain
    }
    return "$value"
}

# A value of the lab's as PowerShell has it.
function ConvertFrom-Lab([System.Text.Json.JsonElement] $json) {
    switch ($json.ValueKind) {
        'Null' { return $null }
        'True' { return $true }
        'False' { return $false }
        'String' { return $json.GetString() }
    }
    $kind = $json.GetProperty('is').GetString()
    switch ($kind) {
        'int' { return $json.GetProperty('value').GetInt32() }
        'long' { return $json.GetProperty('value').GetInt64() }
        'double' { return $json.GetProperty('value').GetDouble() }
        'guid' { return [guid] $json.GetProperty('value').GetString() }
        'version' { return [version] $json.GetProperty('value').GetString() }
        'list' {
            $list = [System.Collections.Generic.List[object]]::new()
            foreach ($item in $json.GetProperty('value').EnumerateArray()) { $list.Add((ConvertFrom-Lab $item)) }
            # As one object: the pipeline would take it apart.
            return , $list.ToArray()
        }
        'enum' {
            # Under the name that the product gives the type: this module's own has no namespace.
            $value = [psobject] ([PoolState] $json.GetProperty('value').GetString())
            $value.PSObject.TypeNames.Insert(0, $json.GetProperty('type').GetString())
            return $value
        }
        'object' {
            $members = [ordered]@{ PSTypeName = $json.GetProperty('type').GetString() }
            foreach ($member in $json.GetProperty('value').EnumerateArray()) {
                $members[$member[0].GetString()] = ConvertFrom-Lab $member[1]
            }
            return [pscustomobject] $members
        }
    }
    throw [System.NotSupportedException]::new("the lab sent a value of an unknown kind: $kind")
}

# A SqlException, which only its driver makes.
function New-SqlException([string] $message, [System.Text.Json.JsonElement] $json) {
    $any = [System.Reflection.BindingFlags] 'Instance, Static, Public, NonPublic'
    $of = { param($name, $default) $p = $json.GetProperty($name); if ($p.ValueKind -eq 'Null') { $default } else { $p.GetInt32() } }
    # By methods, not by Select-Object: in a restricted session that is another command with fewer parameters.
    $create = [System.Data.SqlClient.SqlException].GetMethods($any).Where({
        $_.Name -eq 'CreateException' -and $_.GetParameters().Count -eq 2 })[0]
    $collectionType = $create.GetParameters()[0].ParameterType
    $errors = [Activator]::CreateInstance($collectionType, $true)
    $add = $collectionType.GetMethod('Add', $any)
    $constructor = $add.GetParameters()[0].ParameterType.GetConstructors($any).Where({
        $_.GetParameters().Count -eq 8 -and $_.GetParameters()[-1].ParameterType -eq [Exception] })[0]
    $server = $json.GetProperty('server').GetString()
    $values = [object[]] @((& $of 'number' 0), [byte] (& $of 'state' 0), [byte] (& $of 'class' 20), "$server", $message, '', 0, $null)
    [void] $add.Invoke($errors, [object[]] @($constructor.Invoke($values)))
    return $create.Invoke($null, [object[]] @($errors, '11.0.7001'))
}

# The exception of an error of the lab's: of its real type, where this PowerShell has it.
function New-Exception([System.Text.Json.JsonElement] $json) {
    $name = $json.GetProperty('exception').GetString()
    $message = $json.GetProperty('message').GetString()
    if ($name -eq 'System.Data.SqlClient.SqlException') { return New-SqlException $message $json }
    $type = $name -as [type]
    if ($null -ne $type -and [Exception].IsAssignableFrom($type)) { return $type::new($message) }
    $exception = [System.InvalidOperationException]::new($message)
    ([psobject] $exception).PSObject.TypeNames.Insert(0, $name)
    return $exception
}

function New-Record([System.Text.Json.JsonElement] $json) {
    # PowerShell puts the cmdlet's name behind the id itself.
    $id = ($json.GetProperty('id').GetString() -split ',')[0]
    $category = [System.Management.Automation.ErrorCategory] $json.GetProperty('category').GetInt32()
    $target = $json.GetProperty('target').GetString()
    $record = [System.Management.Automation.ErrorRecord]::new((New-Exception $json), $id, $category, $target)
    $record.CategoryInfo.Reason = ($json.GetProperty('exception').GetString() -split '\.')[-1]
    return $record
}

# Lets the lab do what a cmdlet asks for, and says all that it answers. A pipeline that is stopped hangs up, and that aborts it.
function Invoke-Lab([System.Management.Automation.PSCmdlet] $caller, [System.Collections.IDictionary] $bound, [switch] $long) {
    $parameters = [System.Collections.Generic.Dictionary[string, object]]::new()
    $common = [System.Management.Automation.PSCmdlet]::CommonParameters + [System.Management.Automation.PSCmdlet]::OptionalCommonParameters
    foreach ($name in $bound.Keys) {
        if ($name -notin $common) { $parameters[$name] = ConvertTo-Plain $bound[$name] }
    }
    # Whoever was asked has agreed by now.
    if ($caller.MyInvocation.MyCommand.Parameters.ContainsKey('Confirm')) { $parameters['Confirm'] = $false }
    $name = $caller.MyInvocation.MyCommand.Name
    $question = [System.Collections.Generic.Dictionary[string, object]]::new()
    $question['host'] = [Environment]::GetEnvironmentVariable('PCF_LAB_HOST')
    $question['cmdlet'] = $name
    $question['parameters'] = $parameters
    $socket = [System.Net.Sockets.Socket]::new('Unix', 'Stream', 'Unspecified')
    try {
        $path = [Environment]::GetEnvironmentVariable('PCF_LAB_SOCKET')
        $socket.Connect([System.Net.Sockets.UnixDomainSocketEndPoint]::new($path))
        $stream = [System.Net.Sockets.NetworkStream]::new($socket, $false)
        $line = [System.Text.Json.JsonSerializer]::SerializeToUtf8Bytes($question, $question.GetType())
        $stream.Write($line, 0, $line.Length)
        $stream.WriteByte(10)
        $answer = [System.IO.StreamReader]::new($stream).ReadLineAsync()
        $waited = 0
        # In short pieces: between two of them the pipeline can be stopped.
        while (-not $answer.Wait(50)) {
            if ($long -and $waited % 20 -eq 0) {
                Write-Progress -Activity $name -Status 'SIMULATED: the lab is at work' -SecondsRemaining -1
            }
            $waited++
        }
        if ($long -and $waited -gt 0) { Write-Progress -Activity $name -Completed }
        if ($null -eq $answer.Result) { throw [System.IO.EndOfStreamException]::new('the lab hung up') }
    } finally {
        $socket.Dispose()
    }
    $json = [System.Text.Json.JsonDocument]::Parse($answer.Result).RootElement
    foreach ($object in $json.GetProperty('objects').EnumerateArray()) { $caller.WriteObject((ConvertFrom-Lab $object)) }
    foreach ($text in $json.GetProperty('warnings').EnumerateArray()) { $caller.WriteWarning($text.GetString()) }
    $errors = @($json.GetProperty('errors').EnumerateArray())
    $failed = $json.GetProperty('failed').GetBoolean()
    for ($n = 0; $n -lt $errors.Count; $n++) {
        $record = New-Record $errors[$n]
        if (-not ($failed -and $n -eq $errors.Count - 1)) { $caller.WriteError($record) }
        # A command that is not there has no name to put behind the id.
        elseif ($record.FullyQualifiedErrorId -eq 'CommandNotFoundException') { throw $record }
        else { $caller.ThrowTerminatingError($record) }
    }
}

function Get-CsPersistentChatState {
    [CmdletBinding(DefaultParameterSetName = 'Identity')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 1)] [XdsIdentity] $Identity,
        [Parameter(ParameterSetName = 'Filter')] [string] $Filter,
        [switch] $LocalStore)
    Invoke-Lab $PSCmdlet $PSBoundParameters
}

function Set-CsPersistentChatState {
    [CmdletBinding(DefaultParameterSetName = 'Identity', SupportsShouldProcess, ConfirmImpact = 'High')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 1)] [XdsIdentity] $Identity,
        [Parameter(ParameterSetName = 'Instance', ValueFromPipeline)] [psobject] $Instance,
        [switch] $Force,
        [PoolState] $PoolState)
    if ($PSCmdlet.ShouldProcess("$Identity", 'Set')) { Invoke-Lab $PSCmdlet $PSBoundParameters }
}

function Set-CsPersistentChatActiveServer {
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
    param(
        [Parameter(Position = 1)] [XdsIdentity] $Identity,
        [Parameter(ParameterSetName = 'Explicit', Mandatory)] [AllowNull()]
        [System.Management.Automation.PSListModifier[Fqdn]] $ActiveServers,
        [Parameter(ParameterSetName = 'Swap', Mandatory)] [switch] $Swap,
        [switch] $Force)
    if ($PSCmdlet.ShouldProcess("$Identity", 'Set')) { Invoke-Lab $PSCmdlet $PSBoundParameters }
}

function Get-CsService {
    [CmdletBinding(DefaultParameterSetName = 'Identity')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 1)] [XdsIdentity] $Identity,
        [Parameter(ParameterSetName = 'Filter')] [string] $Filter,
        [string] $PoolFqdn,
        [Parameter(ParameterSetName = 'PersistentChatServer', Mandatory)] [switch] $PersistentChatServer,
        [Parameter(ParameterSetName = 'PersistentChatDatabase', Mandatory)] [switch] $PersistentChatDatabase,
        [Parameter(ParameterSetName = 'CentralManagement', Mandatory)] [switch] $CentralManagement)
    Invoke-Lab $PSCmdlet $PSBoundParameters
}

function Get-CsManagementStoreReplicationStatus {
    [CmdletBinding()]
    param(
        [Parameter(Position = 1, ValueFromPipelineByPropertyName)] [string] $ReplicaFqdn,
        [Parameter(ValueFromPipelineByPropertyName)] [switch] $CentralManagementStoreStatus)
    Invoke-Lab $PSCmdlet $PSBoundParameters
}

function Get-CsWindowsService {
    [CmdletBinding()]
    param(
        [Parameter(Position = 1)] [string] $Name,
        [string] $ComputerName,
        [switch] $ExcludeActivityLevel,
        [string] $Report)
    Invoke-Lab $PSCmdlet $PSBoundParameters
}

function Stop-CsWindowsService {
    [CmdletBinding(DefaultParameterSetName = 'Name', SupportsShouldProcess, ConfirmImpact = 'High')]
    param(
        [Parameter(ParameterSetName = 'Name', Position = 1)] [string] $Name,
        [Parameter(ParameterSetName = 'Name')] [string] $ComputerName,
        [Parameter(ParameterSetName = 'InputObject', ValueFromPipeline)] [psobject] $InputObject,
        [switch] $Graceful,
        [switch] $NoWait,
        [switch] $Force,
        [string] $Report,
        [switch] $LeaveClsAgentRunning,
        [switch] $LeaveWebServerRunning)
    if ($PSCmdlet.ShouldProcess("$ComputerName", 'Stop')) { Invoke-Lab $PSCmdlet $PSBoundParameters }
}

function Start-CsWindowsService {
    [CmdletBinding(DefaultParameterSetName = 'Name', SupportsShouldProcess, ConfirmImpact = 'High')]
    param(
        [Parameter(ParameterSetName = 'Name', Position = 1)] [string] $Name,
        [Parameter(ParameterSetName = 'Name')] [string] $ComputerName,
        [Parameter(ParameterSetName = 'InputObject', ValueFromPipeline)] [psobject] $InputObject,
        [switch] $NoWait,
        [switch] $Force,
        [string] $Report)
    if ($PSCmdlet.ShouldProcess("$ComputerName", 'Start')) { Invoke-Lab $PSCmdlet $PSBoundParameters }
}

function Test-CsDatabase {
    [CmdletBinding()]
    param(
        [Parameter(ParameterSetName = 'ByCMS', Mandatory)] [switch] $CentralManagementDatabase,
        [Parameter(ParameterSetName = 'ByConfigured', Mandatory)] [switch] $ConfiguredDatabases,
        [Parameter(ParameterSetName = 'ByDatabase', Mandatory)] [DatabaseNameType] $DatabaseType,
        [Parameter(ParameterSetName = 'ByLocal', Mandatory)] [switch] $LocalService,
        [Parameter(ParameterSetName = 'ByCMS')]
        [Parameter(ParameterSetName = 'ByConfigured', Mandatory)]
        [Parameter(ParameterSetName = 'ByDatabase', Mandatory)] [Fqdn] $SqlServerFqdn,
        [string] $Report,
        [Parameter(ParameterSetName = 'ByCMS')] [Parameter(ParameterSetName = 'ByDatabase')] [string] $SqlInstanceName)
    Invoke-Lab $PSCmdlet $PSBoundParameters
}

function Install-CsMirrorDatabase {
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
    param(
        [Parameter(ParameterSetName = 'ByConfigured', Mandatory)] [switch] $ConfiguredDatabases,
        [Parameter(ParameterSetName = 'ByDatabase', Mandatory)] [DatabaseNameType] $DatabaseType,
        [Parameter(Mandatory)] [string] $FileShare,
        [Parameter(Mandatory)] [Fqdn] $SqlServerFqdn,
        [hashtable] $DatabasePathMap,
        [switch] $DropExistingDatabasesOnMirror,
        [string[]] $ExcludeDatabaseList,
        [Parameter(ParameterSetName = 'ByConfigured')] [switch] $ForDefaultInstance,
        [Parameter(ParameterSetName = 'ByConfigured')] [string] $ForInstance,
        [string] $Report,
        [Parameter(ParameterSetName = 'ByDatabase')] [string] $SqlInstanceName)
    if ($PSCmdlet.ShouldProcess("$SqlServerFqdn", 'Install')) { Invoke-Lab $PSCmdlet $PSBoundParameters -long }
}

# Of Windows itself (module NetTCPIP), which Linux does not have.
function Test-NetConnection {
    [CmdletBinding()]
    param(
        [Parameter(Position = 0)] [string] $ComputerName,
        [Parameter(Mandatory)] [int] $Port,
        [ValidateSet('Quiet', 'Detailed')] [string] $InformationLevel)
    Invoke-Lab $PSCmdlet $PSBoundParameters
}
