//! Completions for shells, and for kubectl's own completion of its plugins.

use clap::{Command, ValueEnum};
use clap_complete::aot::{Shell, generate};

/// For whom completions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    #[value(name = "powershell")]
    PowerShell,
    /// The program `kubectl_complete-pcf`, which kubectl asks what may follow `kubectl pcf`.
    Kubectl,
}

/// The program's own name: what a shell knows it by.
const PROGRAM: &str = "kubectl-pcf";

/// The name in what is written for bash. clap_complete 4.6 takes the hyphen of a program for the border of a command there: nothing
/// after the first word would be known. What is completed is still [`PROGRAM`].
const IN_BASH: &str = "kubectl_pcf";

/// kubectl's completion asks a program beside the plugin. It gives the words after `pcf`, and reads one candidate on each line
/// and then a directive: 4 means that no file names are offered, 0 that they are where there is nothing else. What may follow is
/// known to the completions for bash already.
const SHIM: &str = r#"#!/usr/bin/env bash
# kubectl_complete-pcf: put it on the PATH, executable. `kubectl pcf completions kubectl` writes it.
eval "$(kubectl-pcf completions bash)" || exit 1
COMP_WORDS=(kubectl-pcf "$@")
COMP_CWORD=$#
_kubectl_pcf kubectl-pcf "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
case "${COMP_WORDS[COMP_CWORD - 1]}" in
-f | --file | replay) echo ":0" ;;
*)
    [ "${#COMPREPLY[@]}" -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    echo ":4"
    ;;
esac
"#;

/// The completions for a command line.
pub fn completions(target: Target, mut command: Command) -> Vec<u8> {
    let shell = match target {
        Target::Bash => Shell::Bash,
        Target::Zsh => Shell::Zsh,
        Target::Fish => Shell::Fish,
        Target::PowerShell => Shell::PowerShell,
        Target::Kubectl => return SHIM.into(),
    };
    let mut out = Vec::new();
    match target {
        Target::Bash => {
            generate(shell, &mut command, IN_BASH, &mut out);
            let text = String::from_utf8_lossy(&out);
            text.replace(&format!(" {IN_BASH}\n"), &format!(" {PROGRAM}\n")).into_bytes()
        }
        Target::Zsh | Target::Fish | Target::PowerShell | Target::Kubectl => {
            generate(shell, &mut command, PROGRAM, &mut out);
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::arguments::Arguments;
    use super::*;

    fn written(target: Target) -> String {
        String::from_utf8_lossy(&completions(target, Arguments::command())).into_owned()
    }

    #[test]
    fn every_shell_knows_every_command() {
        for target in Target::value_variants().iter().filter(|t| **t != Target::Kubectl) {
            let text = written(*target);
            for word in ["status", "approve", "wait", "completions", "timeout"] {
                assert!(text.contains(word), "{target:?}: {word}");
            }
        }
    }

    #[test]
    fn the_program_for_kubectl_calls_the_function_that_bash_gets() {
        let bash = written(Target::Bash);
        assert!(bash.contains("_kubectl_pcf() {") && SHIM.contains("\n_kubectl_pcf kubectl-pcf "), "{bash}");
        assert!(bash.trim_end().trim_end_matches("fi").trim_end().ends_with(" kubectl-pcf"), "{bash}");
        // What a command is called where it is met, and where its words are.
        let name = "kubectl_pcf__subcmd__wait";
        assert!(
            bash.contains(&format!("cmd=\"{name}\"")) && bash.contains(&format!("        {name})")),
            "{bash}"
        );
    }
}
