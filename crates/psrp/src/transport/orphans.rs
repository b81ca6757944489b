//! The shells that a process left behind which was killed: by their names, that say whose they are.
//!
//! A host keeps a shell until its idle time-out, and counts it against the account; what ran in it may run on. A shell may bear a name:
//! the list has it as an element `Name` (`[MS-WSMV]` 2.2.4.37), from where PowerShell takes the names of the sessions that it finds
//! (`RemoteRunspacePoolInternal.GetRemoteRunspacePools` of its source). Who made a shell may list and delete it; an administrator
//! is shown the shells of others too (Microsoft, "Remote Shell Infrastructure Improvements"), so the owner counts as well.

use uuid::Uuid;

use crate::wsman::{CONFIGURATION, Element};

/// What the shells of a process are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellName {
    whose: String,
    start: Uuid,
    tidies: bool,
}

/// A shell that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub shell: Uuid,
    /// Its resource URI: that of its Create.
    pub resource: String,
}

impl ShellName {
    /// Of shells that are one's own as long as `whose` is the same, in one start of a process. With `tidies`, the shells of its other
    /// starts are deleted when a first one is open.
    pub fn new(whose: &str, start: Uuid, tidies: bool) -> ShellName {
        ShellName { whose: whose.into(), start, tidies }
    }

    /// The name itself.
    pub fn text(&self) -> String {
        format!("{} {}", self.whose, self.start)
    }

    /// Whether the shells of other starts are deleted.
    pub(crate) fn tidies(&self) -> bool {
        self.tidies
    }

    /// Whether a name is that of the same one's shells, in another start.
    fn is_of_another_start(&self, name: &str) -> bool {
        let Some((whose, start)) = name.rsplit_once(' ') else { return false };
        whose == self.whose && Uuid::parse_str(start).is_ok_and(|start| start != self.start)
    }
}

fn text<'a>(shell: &'a Element, name: &str) -> Option<&'a str> {
    let found = shell.children.iter().find(|c| c.name == name)?.text.trim();
    (!found.is_empty()).then_some(found)
}

fn id_of(shell: &Element) -> Option<Uuid> {
    Uuid::parse_str(text(shell, "ShellId")?).ok()
}

/// As PowerShell tells its own shells from others: without regard to case.
fn is_of_powershell(resource: &str) -> bool {
    let start = resource.get(..CONFIGURATION.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(CONFIGURATION))
}

/// The shells in a host's list that other starts have left. There are none if the list does not show the own shell with its name and its owner:
/// a host that shows neither tells nothing of the others either. What cannot be read of a shell makes it nobody's orphan.
pub(crate) fn orphans(list: &Element, own: &Uuid, name: &ShellName) -> Vec<Orphan> {
    let mut shells: Vec<&Element> = Vec::new();
    list.all("Shell", &mut shells);
    let mine = shells.iter().find(|s| id_of(s) == Some(*own));
    let told = mine.filter(|s| text(s, "Name") == Some(name.text().as_str())).and_then(|s| text(s, "Owner"));
    let Some(owner) = told else { return Vec::new() };
    let orphan = |shell: &&Element| {
        let left = text(shell, "Owner")? == owner && name.is_of_another_start(text(shell, "Name")?);
        let resource = text(shell, "ResourceUri").filter(|r| is_of_powershell(r))?;
        left.then_some(Orphan { shell: id_of(shell)?, resource: resource.into() })
    };
    shells.iter().filter_map(orphan).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wsman::Envelope;

    const OWNER: &str = r"WIN-NNMU24VVKJ0\vagrant";
    const URI: &str = "http://schemas.microsoft.com/powershell/Microsoft.PowerShell";

    fn shell(id: u128, name: &str, owner: &str, resource: &str) -> String {
        let element = |n: &str, v: &str| {
            if v.is_empty() { String::new() } else { format!("<rsp:{n}>{v}</rsp:{n}>") }
        };
        // The elements of a recorded answer, in its order; the name where the schema has it.
        format!(
            "<rsp:Shell xmlns:rsp=\"http://schemas.microsoft.com/wbem/wsman/1/windows/shell\">{}{}{}{}<rsp:ClientIP>10.0.2.2</rsp:ClientIP><rsp:ProcessId>2792</rsp:ProcessId>\
             <rsp:IdleTimeOut>PT7200.000S</rsp:IdleTimeOut><rsp:State>Disconnected</rsp:State></rsp:Shell>",
            element("ShellId", &Uuid::from_u128(id).to_string().to_uppercase()),
            element("Name", name),
            element("ResourceUri", resource),
            element("Owner", owner),
        )
    }

    fn list(shells: &[String]) -> Element {
        let xml = format!(
            "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" \
             xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\"><s:Header/><s:Body><n:EnumerateResponse><n:EnumerationContext></n:EnumerationContext>\
             <w:Items>{}</w:Items><w:EndOfSequence/></n:EnumerateResponse></s:Body></s:Envelope>",
            shells.concat()
        );
        Envelope::read(&xml).unwrap().body
    }

    fn found(own: &str, others: &[(&str, &str, &str)]) -> Vec<u128> {
        let name = ShellName::new("operator pod-1", Uuid::from_u128(7), true);
        let others = others.iter().zip(2..).map(|((n, owner, uri), id)| shell(id, n, owner, uri));
        let shells: Vec<String> = std::iter::once(shell(1, own, OWNER, URI)).chain(others).collect();
        let orphans = orphans(&list(&shells), &Uuid::from_u128(1), &name);
        orphans.iter().map(|o| o.shell.as_u128()).collect()
    }

    fn named(whose: &str, start: u128) -> String {
        format!("{whose} {}", Uuid::from_u128(start))
    }

    #[test]
    fn what_another_start_of_the_same_one_has_left_is_found_and_nothing_else_is() {
        let (own, left) = (named("operator pod-1", 7), named("operator pod-1", 8));
        assert_eq!(found(&own, &[(&left, OWNER, URI)]), [2]);
        let others = [
            (own.as_str(), OWNER, URI),
            (&named("operator pod-2", 8), OWNER, URI),
            (&named("operator pod-1 x", 8), OWNER, URI),
            (&named("kubectl pod-1", 8), OWNER, URI),
            (&named("an operator pod-1", 8), OWNER, URI),
            ("operator pod-1", OWNER, URI),
            ("operator pod-1 8", OWNER, URI),
            ("Session1", OWNER, URI),
            ("", OWNER, URI),
            (&left, r"WIN-NNMU24VVKJ0\another", URI),
            (&left, "vagrant", URI),
            (&left, "", URI),
            (&left, OWNER, ""),
            (&left, OWNER, "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd"),
        ];
        assert_eq!(found(&own, &others), [0_u128; 0]);
    }

    #[test]
    fn a_host_that_does_not_show_ones_own_shell_whole_shows_no_orphans() {
        let left = named("operator pod-1", 8);
        let (owner, uri) = (OWNER, URI);
        for own in ["", "operator pod-1", "Session1"] {
            assert_eq!(found(own, &[(&left, owner, uri)]), [0_u128; 0], "{own}");
        }
        let name = ShellName::new("operator pod-1", Uuid::from_u128(7), true);
        let own = shell(1, &name.text(), "", URI);
        let listed = list(&[own, shell(2, &left, "", URI), shell(3, &left, OWNER, URI)]);
        assert_eq!(orphans(&listed, &Uuid::from_u128(1), &name), []);
        assert_eq!(orphans(&list(&[shell(2, &left, OWNER, URI)]), &Uuid::from_u128(1), &name), []);
    }
}
