//! What is wrong with the way to the API server, in words that say what to do: the operator has no resource yet whose status could.

use kube::runtime::controller;
use kube::runtime::watcher;

use crate::domain::problem::{Problem, Reason};

/// Says what keeps the controller from hearing of its resources: once, not with every try.
pub(super) struct Teller {
    namespace: Option<String>,
    told: Option<Problem>,
}

impl Teller {
    pub fn new(namespace: Option<String>) -> Teller {
        Teller { namespace, told: None }
    }
    /// What a controller has come upon.
    pub fn hears<E: std::error::Error + 'static>(&mut self, e: &controller::Error<E, watcher::Error>) {
        match of_watch(e, self.namespace.as_deref()) {
            None => tracing::debug!(error = %e, "controller"),
            Some(p) if self.told.as_ref() == Some(&p) => {}
            Some(p) => {
                tracing::error!(problem = %p.message(), "nothing is heard of the resources");
                self.told = Some(p);
            }
        }
    }
}

/// What keeps the controller from hearing of its resources; none: something that passes by itself, or that is told elsewhere.
fn of_watch<E: 'static>(
    e: &controller::Error<E, watcher::Error>,
    namespace: Option<&str>,
) -> Option<Problem> {
    match e {
        controller::Error::QueueError(
            watcher::Error::InitialListFailed(e)
            | watcher::Error::WatchStartFailed(e)
            | watcher::Error::WatchFailed(e),
        ) => match e {
            kube::Error::Api(status) => refused(status.code, &status.message, namespace),
            _ => None,
        },
        controller::Error::QueueError(watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion)
        | controller::Error::ObjectNotFound(_)
        | controller::Error::ReconcilerFailed(..)
        | controller::Error::RunnerError(_) => None,
    }
}

fn refused(code: u16, message: &str, namespace: Option<&str>) -> Option<Problem> {
    let place = namespace.map_or_else(|| "all namespaces".to_string(), |n| format!("namespace {n}"));
    let problem = |what: String, fix: &str| Some(Problem::ask(Reason::NotSupported, what, fix));
    match code {
        404 => problem(
            "The API server does not know PersistentChatFailover (persistentchat.dev/v1alpha1): its definition is missing".into(),
            "Install it: with the chart (crds.enabled), or kubectl apply --server-side -f crds/. Nothing else is to be done",
        ),
        403 => problem(
            format!("The operator may not list and watch persistentchatfailovers in {place}: {message}"),
            "Give its account the role of the chart (pcf-operator rights prints the rules), or set PCF_NAMESPACE to the namespace that it may read",
        ),
        401 => problem(
            format!("The API server does not accept the operator's token: {message}"),
            "Give it a ServiceAccount's token, or a kubeconfig (KUBECONFIG) whose user exists",
        ),
        _ => None,
    }
}

/// Why a status was not written. An API server whose definition lacks a field refuses the whole of it, by no other sign than its words:
/// they decide nothing here but what a human reads.
pub(super) fn of_status(e: &kube::Error) -> String {
    let old = match e {
        kube::Error::Api(s) => s.code == 500 && s.message.contains("field not declared in schema"),
        _ => false,
    };
    if old {
        format!(
            "the definition of the resource is older than the operator: upgrade it with the chart (crds.enabled), or by kubectl apply \
             --server-side -f crds/ of the same version. What is at work goes on meanwhile ({e})"
        )
    } else {
        e.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_watch_says_what_to_do() {
        for (code, word) in [(404, "definition is missing"), (403, "namespace chat"), (401, "token")] {
            let of = |code: u16| {
                let status =
                    kube::core::Status { code, message: "no".into(), ..kube::core::Status::default() };
                let e = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
                of_watch(&controller::Error::<std::fmt::Error, _>::QueueError(e), Some("chat"))
            };
            assert!(of(code).is_some_and(|p| p.what.contains(word) && !p.fix.is_empty()), "{code}");
            assert!(of(500).is_none());
        }
    }
}
