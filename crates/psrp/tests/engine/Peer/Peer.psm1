# Makes an engine say unusual things, for the tests of a client that can only run commands by name.
function Get-Values { [CmdletBinding()] param()
  [datetime]::SpecifyKind([datetime]'2026-11-25T01:02:03', 'Utc'); [timespan]'1.02:03:04.5'; [guid]'00112233-4455-6677-8899-aabbccddeeff'
  [uri]'http://x/?a=<&>'; [version]'1.2.3'; [byte]255; [char]'c'; "😀 _x0041_ `0 `r`n `t"; [decimal]1.5; [double]::NegativeInfinity; [float]1.5
  [int64]::MinValue; [uint64]::MaxValue; [sbyte]-1; [DayOfWeek]::Friday; $true; $null; ,@(1, $null, 3); @{ a = 1 }; [xml]'<a/>'; { 1 }
  [pscustomobject]@{ Name = 'n'; Nothing = $null }; [char]0xFFFE + 'x'; 'last' }
function Write-Errors { [CmdletBinding()] param()
  Write-Error -Message 'first' -ErrorId 'One' -Category ObjectNotFound -TargetObject 'thing' -RecommendedAction 'look for it'
  'between'
  Write-Error -Exception ([System.IO.IOException]::new('second', -2147024784)) -ErrorId 'Two' -Category DeviceError }
function Throw-Error { [CmdletBinding()] param()
  $inner = [System.ComponentModel.Win32Exception]::new(53)
  $outer = [System.InvalidOperationException]::new('words of no use', $inner)
  $PSCmdlet.ThrowTerminatingError([System.Management.Automation.ErrorRecord]::new($outer, 'Down', 'ConnectionError', 'atl-sql-1')) }
function Show-Streams { [CmdletBinding()] param()
  Write-Progress -Activity 'work' -Status 'half' -PercentComplete 50; Write-Host 'h'; Write-Debug 'd' -Debug; Write-Verbose 'v' -Verbose
  Write-Information 'i'; Write-Warning 'w1'; Write-Warning 'w2'; 'o' }
function Read-Answer { [CmdletBinding()] param() Read-Host 'name' }
function Set-Important { [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')] param() if ($PSCmdlet.ShouldProcess('it', 'set')) { 'set' } }
function Wait-Long { [CmdletBinding()] param() foreach ($i in 1..6000) { Start-Sleep -Milliseconds 100; if ($i -eq 2) { 'waiting' } } }
function Wait-Stuck { [CmdletBinding()] param() [System.Threading.Thread]::Sleep(300000) }
function Get-Quick { [CmdletBinding()] param([string]$Text) $Text }
function Stop-Engine { [CmdletBinding()] param() 'half of it'; [System.Diagnostics.Process]::GetCurrentProcess().Kill(); Start-Sleep 60 }
function Exit-Engine { [CmdletBinding()] param() 'before'; exit 3 }
function Write-Flood { [CmdletBinding()] param() $s = 'x' * 65536; foreach ($i in 1..3200) { $s } }
function Write-Console { [CmdletBinding()] param() [Console]::WriteLine('to the console'); [Console]::Error.WriteLine('to its errors'); 'object' }
function Write-Pipe { [CmdletBinding()] param() $o = [Console]::OpenStandardOutput(); $b = [Text.Encoding]::UTF8.GetBytes("raw`n"); $o.Write($b, 0, $b.Length); $o.Flush(); Start-Sleep 60 }
function New-Million { [CmdletBinding()] param() , (1..1000000) }
function New-Deep { [CmdletBinding()] param() $a = 'deep'; foreach ($i in 1..30) { $l = [System.Collections.ArrayList]::new(); [void]$l.Add($a); $a = $l }; , $a }
function Get-Secret { [CmdletBinding()] param() ConvertTo-SecureString 'not to be read' -AsPlainText -Force }
