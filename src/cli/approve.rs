//! `approve`: shows what is asked of a human, and writes a yes to exactly that.
//!
//! The yes names the transition and the digest of what was shown, and is bound to the object as it was seen. Whatever changes in
//! between is shown anew. It is written under a name of its own: what removes the fields of other writers (Flux does, of those that
//! begin with `kubectl`) leaves it.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::json;

use super::cluster::{Place, in_time, is_refusal, told};
use super::failure::Failure;
use super::report::loss;
use crate::api::v1alpha1::{LossStatus, PersistentChatFailover};
use crate::domain::text::{clean, clean_whole};
use crate::status::conditions::STALLED;

/// Name under which a consent is applied.
pub const MANAGER: &str = "pcf-approve";
/// The longest `spec.consent.by` that the API server takes, in characters.
const BY: usize = 253;
/// How often it is tried again where the object has changed, and what is asked has not.
const TRIES: usize = 10;

/// What is asked of a human.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The pool.
    pub pool: String,
    /// What would be carried out.
    pub procedure: String,
    /// The data centre that is left, or whose database is the live one.
    pub from: String,
    /// The data centre that becomes active, that is protected, or that is set right.
    pub to: String,
    /// Id of the transition.
    pub transition: String,
    /// Digest of what is asked.
    pub situation: String,
    /// What is lost, not certain, or overwritten.
    pub why: Vec<String>,
    /// What is lost, as an interval, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossStatus>,
    /// The object that asks, and its generation: a yes to one is none to another.
    #[serde(skip)]
    object: (Option<String>, Option<i64>),
}

/// How somebody says yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// On the terminal.
    Asked,
    /// By the digest of what they have read.
    Digest(String),
}

/// What is asked now; a refusal if nothing is.
pub fn asked(r: &PersistentChatFailover) -> Result<Question, Failure> {
    let name = clean(r.metadata.name.as_deref().unwrap_or_default());
    let nothing = |why: &str| Failure::Refused(format!("nothing is asked of you about {name}: {why}"));
    let status = r.status.as_ref().ok_or_else(|| nothing("the operator has not yet looked at it"))?;
    if r.metadata.generation != Some(status.observed_generation) {
        return Err(Failure::Refused(format!(
            "the operator has not yet seen the last change of {name}, so what it asked before may not be what it asks now: try again"
        )));
    }
    let transition = status.transition.as_ref();
    let Some((t, needed)) = transition.and_then(|t| Some((t, t.consent_needed.as_ref()?))) else {
        let stalled = status.conditions.iter().find(|c| c.type_ == STALLED && c.status == "True");
        return Err(match stalled {
            Some(c) => {
                nothing(&format!("a human is needed, but a yes would not help: {}", clean_whole(&c.message)))
            }
            None => nothing("it goes on, or rests, without a human"),
        });
    };
    // A yes to another transition than the one that is shown is never said.
    if needed.transition != t.id {
        return Err(Failure::Refused(format!(
            "the status of {name} asks about another transition than it shows: try again"
        )));
    }
    Ok(Question {
        pool: r.spec.pool.clone(),
        procedure: t.procedure.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        transition: t.id.clone(),
        situation: needed.situation.clone(),
        why: needed.why.clone(),
        loss: t.loss.clone(),
        object: (r.metadata.uid.clone(), r.metadata.generation),
    })
}

impl Question {
    /// For a human.
    pub fn shown(&self) -> String {
        let mut out = String::new();
        let (pool, procedure) = (clean(&self.pool), clean(&self.procedure));
        let (from, to) = (clean(&self.from), clean(&self.to));
        let _ = writeln!(
            out,
            "{procedure} of {pool} from {from} to {to} needs a human's yes. What is lost, not certain, or overwritten:"
        );
        for why in &self.why {
            let _ = writeln!(out, "  - {}", clean_whole(why));
        }
        if let Some(l) = &self.loss {
            loss(&mut out, l);
        }
        let _ =
            writeln!(out, "transition {}   situation {}", clean(&self.transition), clean(&self.situation));
        out
    }

    /// How to agree to exactly this.
    fn how(&self, place: &Place) -> String {
        let (name, namespace) = (clean(&place.name), clean(&place.namespace));
        format!("kubectl pcf approve {name} -n {namespace} --yes {}", clean(&self.situation))
    }
}

/// Shows what is asked, and writes the yes to it. `show` is where it is shown. Gives what was written.
pub async fn approve(place: &Place, how: &How, show: impl Fn(&str)) -> Result<String, Failure> {
    let mut agreed: Option<Question> = None;
    let mut by = None;
    for _ in 0..TRIES {
        let r = place.get().await?;
        let question = asked(&r)?;
        let by: &String = match &mut by {
            Some(by) => by,
            none => none.insert(who(place).await?),
        };
        if agreed.as_ref() != Some(&question) {
            if agreed.is_some() {
                show("It has changed meanwhile. Now:\n");
            }
            says_yes(place, how, &question, by, &show).await?;
        }
        if write(place, &r, &question, by).await? {
            let (t, s) = (clean(&question.transition), clean(&question.situation));
            return Ok(format!("Agreed as {}: transition {t}, situation {s}{}", clean(by), put_back(&r)));
        }
        agreed = Some(question);
    }
    Err(Failure::Refused(format!("{place} changes faster than a yes can be written: try again")))
}

/// That somebody else applies a consent of his own to the object, a tool that reads Git mostly: at its next look it puts that back over the
/// yes, and an operator that has not seen the yes by then asks again.
fn put_back(r: &PersistentChatFailover) -> String {
    let applies = |m: &&ManagedFieldsEntry| {
        let fields = m.fields_v1.as_ref().map(|f| &f.0["f:spec"]["f:consent"]);
        let is_his = m.manager.as_deref() != Some(MANAGER) && m.operation.as_deref() == Some("Apply");
        is_his && fields.is_some_and(|f| !f.is_null())
    };
    match r.metadata.managed_fields.iter().flatten().find(applies) {
        None => String::new(),
        Some(m) => format!(
            "\n{} applies a spec.consent of its own, and will put that back over this one: take it out of the manifest that it applies",
            clean(m.manager.as_deref().unwrap_or_default())
        ),
    }
}

/// Whether somebody says yes to it; anything else is a failure.
async fn says_yes(
    place: &Place,
    how: &How,
    question: &Question,
    by: &str,
    show: &impl Fn(&str),
) -> Result<(), Failure> {
    match how {
        How::Digest(digest) if *digest == question.situation => Ok(()),
        How::Digest(digest) => {
            show(&question.shown());
            Err(Failure::Refused(format!(
                "nothing was written: {} is not what is asked now. Read it again; the yes to it is: {}",
                clean(digest),
                question.how(place)
            )))
        }
        How::Asked => {
            show(&question.shown());
            if !stdin().is_terminal() {
                return Err(Failure::Unable(format!(
                    "nothing was written: there is no terminal to ask on. The yes to exactly this is: {}",
                    question.how(place)
                )));
            }
            let by = clean(by);
            let answer =
                tokio::task::spawn_blocking(move || answer(&by)).await.map_err(|e| e.to_string())??;
            match answer.trim() {
                "yes" => Ok(()),
                _ => Err(Failure::Refused("nothing was written".into())),
            }
        }
    }
}

fn answer(by: &str) -> Result<String, Failure> {
    let told = |e: std::io::Error| Failure::Unable(format!("the terminal cannot be read: {e}"));
    let mut line = String::new();
    write!(stderr(), "Type yes to agree as {by}: ").and_then(|()| stderr().flush()).map_err(told)?;
    stdin().lock().read_line(&mut line).map_err(told)?;
    Ok(line)
}

/// Who we are, as the API server knows us.
async fn who(place: &Place) -> Result<String, Failure> {
    let api: Api<SelfSubjectReview> = Api::all(place.client.clone());
    let review = in_time(api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
    let name =
        review.status.and_then(|s| s.user_info).and_then(|u| u.username).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::Unable("the API server does not say who you are".into()))?;
    Ok(name.chars().take(BY).collect())
}

/// Writes the yes, if the object is still the one that was seen. False: it is not.
async fn write(
    place: &Place,
    seen: &PersistentChatFailover,
    q: &Question,
    by: &str,
) -> Result<bool, Failure> {
    let body = json!({
        "apiVersion": "persistentchat.dev/v1alpha1",
        "kind": "PersistentChatFailover",
        "metadata": {"name": place.name, "uid": seen.metadata.uid, "resourceVersion": seen.metadata.resource_version},
        "spec": {"consent": {"transition": q.transition, "situation": q.situation, "by": by}},
    });
    // An older yes of another writer is in the way of this one, and fits nothing any more.
    let params = PatchParams::apply(MANAGER).force();
    let (api, patch) = (place.api(), Patch::Apply(&body));
    let request = async {
        match api.patch(&place.name, &params, &patch).await {
            Ok(_) => Ok(Ok(true)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Ok(false)),
            // A refusal by a policy comes as either of the two.
            Err(e) if is_refusal(&e) || is_invalid(&e) => Ok(Err(told(&e))),
            Err(e) => Err(e),
        }
    };
    match in_time(request).await {
        Ok(Ok(written)) => Ok(written),
        Ok(Err(refusal)) => Err(Failure::Refused(match lacking(place).await? {
            Some(verb) => lacks(place, by, verb),
            None => refusal,
        })),
        Err(e) => {
            Err(Failure::Unable(format!("whether it was written is not known, ask again: {}", e.message())))
        }
    }
}

fn is_invalid(e: &kube::Error) -> bool {
    match e {
        kube::Error::Api(status) => status.code == 422,
        _ => false,
    }
}

/// The verbs that saying yes takes, by the rules of RBAC: writing the resource, and what the policy of the chart asks for.
const VERBS: [&str; 2] = ["patch", "approve"];

/// The first right that we lack.
async fn lacking(place: &Place) -> Result<Option<&'static str>, Failure> {
    let api: Api<SelfSubjectAccessReview> = Api::all(place.client.clone());
    for verb in VERBS {
        let attributes = ResourceAttributes {
            group: Some("persistentchat.dev".into()),
            resource: Some("persistentchatfailovers".into()),
            namespace: Some(place.namespace.clone()),
            name: Some(place.name.clone()),
            verb: Some(verb.into()),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let review = in_time(api.create(&PostParams::default(), &review)).await?;
        if review.status.is_some_and(|s| !s.allowed) {
            return Ok(Some(verb));
        }
    }
    Ok(None)
}

fn lacks(place: &Place, by: &str, verb: &str) -> String {
    format!(
        "nothing was written: {} lacks the verb {verb} on persistentchatfailovers.persistentchat.dev in namespace {ns}, which whoever \
         may write Roles and RoleBindings of {ns} can give",
        clean(by),
        ns = clean(&place.namespace)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn resource(change: impl Fn(&mut Value)) -> PersistentChatFailover {
        let mut value = json!({"apiVersion": "persistentchat.dev/v1alpha1", "kind": "PersistentChatFailover",
            "metadata": {"name": "x", "generation": 3, "uid": "u"},
            "spec": {"pool": "p", "activeDataCenter": "b", "dataCenters": []},
            "status": {"observedGeneration": 3, "conditions": [{"type": "Stalled", "status": "True", "reason": "X",
                "message": "look\u{1b}[2J", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "transition": {"id": "77", "procedure": "Failover", "from": "a\u{9b}31m", "to": "b", "started": "2026-01-01T00:00:00Z",
                "outcome": "Pending", "pointOfNoReturn": false, "steps": [],
                "consentNeeded": {"transition": "77", "situation": "abc", "why": ["a gap\r\nforged", "a\u{1b}]0;owned\u{7}"]},
                "loss": {"lastBackup": "mgc_5.trn"}}}});
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_consent_that_somebody_else_applies_is_told_to_whoever_says_yes_beside_it() {
        let applied = |manager: &str, operation: &str, field: &str| {
            let entry = json!({"manager": manager, "operation": operation, "apiVersion": "persistentchat.dev/v1alpha1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {field: {"f:by": {}}}}});
            put_back(&resource(|v| v["metadata"]["managedFields"] = json!([entry])))
        };
        let told = applied("kustomize-controller", "Apply", "f:consent");
        assert!(
            told.contains("kustomize-controller") && told.contains("take it out of the manifest"),
            "{told}"
        );
        assert_eq!(applied("kustomize-controller", "Apply", "f:pool"), "");
        assert_eq!(applied(MANAGER, "Apply", "f:consent"), "");
        assert_eq!(applied("kubectl-patch", "Update", "f:consent"), "");
        assert_eq!(put_back(&resource(|_| {})), "");
    }

    #[test]
    fn what_is_asked_is_shown_whole_and_moves_no_cursor() {
        let q = asked(&resource(|_| {})).unwrap();
        let text = q.shown();
        for part in [
            "Failover of p from a\\u{9b}31m to b",
            "a gap\\u{d}\\u{a}forged",
            "mgc_5.trn",
            "transition 77   situation abc",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn nothing_is_asked_where_nothing_is_and_where_it_may_be_old() {
        type Change = fn(&mut Value);
        let changes: [(Change, &str); 5] = [
            (|v| drop(v.as_object_mut().unwrap().remove("status")), "not yet looked at it"),
            (|v| v["metadata"]["generation"] = json!(4), "not yet seen the last change"),
            (
                |v| v["status"]["transition"]["consentNeeded"] = Value::Null,
                "a yes would not help: look\\u{1b}[2J",
            ),
            (|v| v["status"] = json!({"observedGeneration": 3}), "without a human"),
            (|v| v["status"]["transition"]["id"] = json!("78"), "another transition"),
        ];
        for (change, said) in changes {
            let e = asked(&resource(change)).unwrap_err();
            assert!(e.message().contains(said) && e.code() == 3, "{said}: {e:?}");
        }
    }

    #[test]
    fn a_question_is_another_one_if_anything_of_it_is() {
        let q = asked(&resource(|_| {})).unwrap();
        assert_eq!(asked(&resource(|v| v["metadata"]["resourceVersion"] = json!("9"))).unwrap(), q);
        for path in [
            "/metadata/uid",
            "/spec/pool",
            "/status/transition/consentNeeded/situation",
            "/status/transition/to",
        ] {
            let other = asked(&resource(|v| *v.pointer_mut(path).unwrap() = json!("other"))).unwrap();
            assert_ne!(other, q, "{path}");
        }
    }
}
