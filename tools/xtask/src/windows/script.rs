//! What must hold of the package's PowerShell scripts, which nothing runs before Windows does.
//!
//! Brackets and quotes close; every command is one of the table, with parameters it has; every variable was given a value
//! before; errors end the script, names are strict, nothing is done by who is no administrator; programs are asked how they
//! ended; what makes or takes away looks first whether it is there, so that a script may be run again. Grammar beyond that
//! is not held: a parser of the language is asked by hand (docs/windows.md).

use super::run::Failure;

/// Commands, each with the parameters it is used with.
const COMMANDS: &[(&str, &[&str])] = &[
    ("Copy-Item", &["Force"]),
    ("Disable-NetAdapterBinding", &["Name", "ComponentID"]),
    ("Enable-NetAdapterBinding", &["Name", "ComponentID", "ErrorAction"]),
    ("Export-Certificate", &["Cert", "FilePath"]),
    ("ForEach-Object", &[]),
    ("Get-ChildItem", &["Recurse", "Filter", "ErrorAction"]),
    ("Get-ItemProperty", &["Name", "ErrorAction"]),
    ("Get-NetAdapter", &["Physical"]),
    ("Get-NetAdapterBinding", &["Name"]),
    ("Get-Service", &["ErrorAction"]),
    ("Get-WindowsDriver", &["Online"]),
    ("Import-Certificate", &["FilePath", "CertStoreLocation"]),
    ("Join-Path", &[]),
    ("New-Item", &["ItemType", "Path", "Force"]),
    ("New-SelfSignedCertificate", &["Type", "Subject", "CertStoreLocation"]),
    ("New-Service", &["Name", "DisplayName", "Description", "BinaryPathName", "StartupType"]),
    ("Out-Null", &[]),
    ("Out-String", &[]),
    ("Read-Host", &[]),
    ("Remove-Item", &["Recurse"]),
    ("Select-Object", &["First", "Last"]),
    ("Set-ItemProperty", &["Path", "Name", "Type", "Value"]),
    ("Set-StrictMode", &["Version"]),
    ("Sort-Object", &[]),
    ("Start-Service", &[]),
    ("Stop-Service", &[]),
    ("Test-Path", &[]),
    ("Where-Object", &[]),
    ("Write-Host", &[]),
    ("Write-Warning", &[]),
];
/// Programs, by the names that are theirs alone (`sc` is a command of the shell). Their arguments are their own.
const PROGRAMS: &[&str] = &["netcfg", "netsh", "pnputil", "sc.exe"];
/// Programs of which the next line asks how they ended.
const ASKED: &[&str] = &["netcfg", "sc.exe"];
/// Words of the language that stand where a command may.
const KEYWORDS: &[&str] = &["if", "elseif", "else", "foreach", "in", "param", "throw", "exit", "continue", "return"];
/// Operators.
const OPERATORS: &[&str] =
    &["and", "eq", "f", "in", "lt", "match", "ge", "ne", "not", "notcontains", "notmatch", "or", "split", "join"];
/// Variables the shell gives a value.
const GIVEN: &[&str] = &["_", "null", "true", "false", "PSScriptRoot", "LASTEXITCODE", "ErrorActionPreference"];
/// What stands in every script.
const WANTED: &[&str] = &[
    "$ErrorActionPreference = 'Stop'",
    "Set-StrictMode -Version 2",
    "IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) { throw",
];
/// What makes or takes away, and what is asked before, on the line itself or a few above.
const GUARDED: &[(&str, &str)] = &[
    ("New-Service", "Get-Service planbsvc"),
    ("Stop-Service", "Get-Service planbsvc"),
    ("Remove-Item", "Test-Path"),
    ("New-Item -Path", "Test-Path"),
    ("New-SelfSignedCertificate", "if (-not $own)"),
    ("netcfg -v -l", "$installed -notmatch"),
    ("netcfg -v -u", "$installed -notmatch"),
];
/// Lines above that are looked at.
const ABOVE: usize = 11;

/// A word of a script, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Letters that stand bare: a command, an argument, an operator with its dash.
    Bare(String),
    /// A variable, without its scope's `$`.
    Variable(String),
    /// A text between quotes; variables within come before it.
    Text,
    /// Anything else that is one sign.
    Sign(char),
    /// A statement's end.
    End,
}

/// A script as words, each with the number of its line; brackets and quotes close.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Failure> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut out, mut open) = (0, 1, Vec::new(), Vec::new());
    let word = |from: usize, more: &str| {
        chars.iter().skip(from).take_while(|c| c.is_alphanumeric() || more.contains(**c)).collect::<String>()
    };
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or('\n');
        let length = match c {
            '\n' => {
                out.push((line, Token::End));
                line += 1;
                1
            }
            '#' => chars.iter().skip(at).take_while(|c| **c != '\n').count(),
            '`' if next == '\n' => {
                line += 1;
                2
            }
            ' ' | '\r' | '\t' => 1,
            '\'' | '"' => {
                let inner: String = chars.iter().skip(at + 1).take_while(|i| **i != c).collect();
                let closed = chars.get(at + 1 + inner.chars().count()) == Some(&c);
                if !closed || inner.contains('\n') {
                    return Err(format!("line {line}: a quote that is not closed"));
                }
                if c == '"' {
                    let names = inner.split('$').skip(1).map(|part| {
                        let part = part.trim_start_matches(['{', '(', '$']);
                        part.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect::<String>()
                    });
                    let variables = names.filter(|name| name.starts_with(char::is_alphabetic));
                    out.extend(variables.map(|name| (line, Token::Variable(name.trim_end_matches(':').to_owned()))));
                }
                out.push((line, Token::Text));
                inner.chars().count() + 2
            }
            '$' if next == '{' => {
                let inner: String = chars.iter().skip(at + 2).take_while(|c| **c != '}').collect();
                let length = inner.chars().count() + 3;
                out.push((line, Token::Variable(inner)));
                length
            }
            '$' if next.is_alphanumeric() || next == '_' => {
                let name = word(at + 1, "_:");
                let length = name.chars().count() + 1;
                out.push((line, Token::Variable(name)));
                length
            }
            '(' | '{' | '[' => {
                open.push((c, line));
                out.push((line, Token::Sign(c)));
                1
            }
            ')' | '}' | ']' => {
                let pair = match open.pop() {
                    Some((pair, _)) => pair,
                    None => return Err(format!("line {line}: `{c}` closes nothing")),
                };
                if !["()", "{}", "[]"].contains(&format!("{pair}{c}").as_str()) {
                    return Err(format!("line {line}: `{pair}` is closed by `{c}`"));
                }
                out.push((line, Token::Sign(c)));
                1
            }
            ';' => {
                out.push((line, Token::End));
                1
            }
            _ if c.is_alphanumeric() || "-./\\:_*".contains(c) => {
                let bare = word(at, "-./\\:_*=");
                let length = bare.chars().count();
                out.push((line, Token::Bare(bare)));
                length
            }
            _ => {
                out.push((line, Token::Sign(c)));
                1
            }
        };
        at += length;
    }
    match open.pop() {
        Some((bracket, line)) => Err(format!("line {line}: `{bracket}` is not closed")),
        None => Ok(out),
    }
}

/// Commands and parameters are known.
fn commands(tokens: &[(usize, Token)]) -> Result<(), Failure> {
    // For each bracket that is open: whose parameters follow, if anybody's.
    let mut current: Vec<Option<&[&str]>> = vec![None];
    let mut first = true;
    for (n, (line, token)) in tokens.iter().enumerate() {
        let next = tokens.get(n + 1).map(|(_, token)| token);
        let begun = std::mem::replace(&mut first, false);
        match token {
            Token::End | Token::Sign('|' | '=') => {
                first = true;
                if let Some(last) = current.last_mut() {
                    *last = None;
                }
            }
            Token::Sign('(' | '{' | '[') => {
                current.push(None);
                first = *token != Token::Sign('[');
            }
            Token::Sign(')' | '}' | ']') => {
                current.pop();
                first = *token == Token::Sign('}');
            }
            Token::Bare(word) if KEYWORDS.contains(&word.as_str()) => first = true,
            // A key of a table.
            Token::Bare(_) if begun && next == Some(&Token::Sign('=')) => {}
            Token::Bare(word) if begun && word.starts_with(char::is_alphabetic) => {
                let known = COMMANDS.iter().find(|(name, _)| name == word).map(|(_, parameters)| *parameters);
                if known.is_none() && !PROGRAMS.contains(&word.as_str()) {
                    return Err(format!("line {line}: {word} is no command that is known"));
                }
                if let Some(last) = current.last_mut() {
                    // A program's arguments are not looked at.
                    *last = Some(known.unwrap_or(&["*"]));
                }
            }
            Token::Bare(word) if word.starts_with('-') && word.len() > 1 => {
                let name = word.trim_start_matches('-').trim_end_matches(':');
                let good = match current.last() {
                    Some(Some(parameters)) => parameters.contains(&"*") || parameters.contains(&name),
                    _ => OPERATORS.contains(&name) || name.starts_with(|c: char| c.is_ascii_digit()),
                };
                if !good {
                    return Err(format!("line {line}: -{name} is no parameter or operator that is known there"));
                }
                if name == "ErrorAction"
                    && !matches!(next, Some(Token::Bare(how)) if ["Ignore", "SilentlyContinue"].contains(&how.as_str()))
                {
                    return Err(format!("line {line}: -ErrorAction wants Ignore or SilentlyContinue"));
                }
                first = name == "not";
            }
            _ => {}
        }
    }
    Ok(())
}

/// Variables are given a value before they are used.
fn variables(tokens: &[(usize, Token)]) -> Result<(), Failure> {
    let mut known: Vec<&str> = GIVEN.to_vec();
    let mut parameters = false;
    for (n, (line, token)) in tokens.iter().enumerate() {
        match token {
            Token::Bare(word) if word == "param" => parameters = true,
            // The list ends with its line's bracket.
            Token::Sign(')') if matches!(tokens.get(n.wrapping_sub(1)), Some((_, Token::End))) => parameters = false,
            Token::Variable(name) if !name.starts_with("env:") && !known.contains(&name.as_str()) => {
                let mut behind = tokens.iter().skip(n + 1).map(|(_, token)| token);
                let given = behind
                    .find(|t| !matches!(t, Token::Variable(_) | Token::Sign(',')))
                    .is_some_and(|t| *t == Token::Sign('=') || *t == Token::Bare("in".to_owned()));
                if !given && !parameters {
                    return Err(format!("line {line}: ${name} has no value yet"));
                }
                known.push(name);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Programs are asked how they ended, and what makes or takes away looks first.
fn lines(text: &str) -> Result<(), Failure> {
    let code: Vec<&str> = text.lines().map(|l| l.split(" # ").next().unwrap_or(l).trim()).collect();
    let line = |n: usize| code.get(n).copied().unwrap_or_default();
    for n in (0..code.len()).filter(|n| !line(*n).starts_with('#')) {
        let begins = line(n).rsplit(" = ").next().unwrap_or_default();
        if ASKED.iter().any(|program| begins.starts_with(&format!("{program} ")))
            && !line(n + 1).contains("$LASTEXITCODE")
        {
            return Err(format!(
                "line {}: nobody asks how {} ended",
                n + 1,
                begins.split(' ').next().unwrap_or_default()
            ));
        }
        for (what, before) in GUARDED {
            let asked = (n.saturating_sub(ABOVE)..=n).any(|m| line(m).contains(before));
            if line(n).contains(what) && !asked {
                return Err(format!("line {}: {what} without `{before}` before it", n + 1));
            }
        }
        // Of a registry key that is there it would leave nothing.
        if line(n).contains("New-Item -Path") && line(n).contains("-Force") {
            return Err(format!("line {}: New-Item -Force empties a key that is there", n + 1));
        }
    }
    Ok(())
}

/// Holds a script to all of it.
///
/// # Errors
/// What does not hold, with its line.
pub(crate) fn lint(text: &str) -> Result<(), Failure> {
    if let Some(missing) = WANTED.iter().find(|wanted| !text.contains(**wanted)) {
        return Err(format!("`{missing}` is not there"));
    }
    let tokens = tokens(text)?;
    commands(&tokens)?;
    variables(&tokens)?;
    lines(text)
}

#[cfg(test)]
mod tests {
    use super::super::run::read_text;
    use super::super::{package::SCRIPTS, root};
    use super::*;

    fn script(name: &str) -> String {
        read_text(&root().join("driver/ndis/package").join(name)).unwrap()
    }

    #[test]
    fn ours_hold() {
        for name in SCRIPTS {
            assert_eq!(lint(&script(name)), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_changed_does_not_hold() {
        for (name, old, new) in [
            ("install.ps1", "'Stop'", "'Continue'"),
            ("install.ps1", "Set-StrictMode -Version 2\n", ""),
            ("install.ps1", "IsInRole(", "IsInRoll("),
            ("install.ps1", "'planb.inf', 'planb.sys'", "'planb.inf, 'planb.sys'"),
            ("install.ps1", "$name = \"DynamicPorts-$family-$proto\"", "$name = \"DynamicPorts-$family-$proto"),
            ("install.ps1", "throw 'run this as administrator' }", "throw 'run this as administrator' )"),
            ("install.ps1", "if (-not $Yes) {", "if (-not $Yes {"),
            ("install.ps1", "store=persistent | Out-Null", "store=persistent | OutNull"),
            ("install.ps1", "Start-Service planbsvc", "sc start planbsvc"),
            ("install.ps1", "-StartupType Automatic", "-StartType Automatic"),
            ("install.ps1", "-ErrorAction Ignore", "-ErrorAction Silently"),
            ("install.ps1", "$build -lt 17763", "$build -less 17763"),
            ("install.ps1", "$policy = @{", "$polity = @{"),
            ("install.ps1", "Test-Path \"$service\\Parameters\"", "Test-Path \"$servicing\\Parameters\""),
            ("install.ps1", "if ($LASTEXITCODE -ne 0) { throw \"sc.exe failure: $LASTEXITCODE\" }\n", ""),
            (
                "install.ps1",
                "if (-not (Test-Path $own)) { New-Item -Path $own | Out-Null }",
                "New-Item -Path $own | Out-Null",
            ),
            (
                "install.ps1",
                "New-Item -Path \"$service\\Parameters\"",
                "New-Item -Path \"$service\\Parameters\" -Force",
            ),
            ("uninstall.ps1", "if ($installed -notmatch \"$component\\b\") { continue }", ""),
            ("uninstall.ps1", "if (Get-Service planbsvc -ErrorAction Ignore) {", "if ($true) {"),
            ("test-sign.ps1", "if (-not $own) {", "if ($true) {"),
        ] {
            let text = script(name);
            let changed = text.replace(old, new);
            assert!(text != changed, "{name}: {old}");
            assert!(lint(&changed).is_err(), "{name}: {old} → {new}");
        }
    }
}
