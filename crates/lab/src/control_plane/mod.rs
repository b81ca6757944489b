//! A real etcd, kube-apiserver and kubectl.
