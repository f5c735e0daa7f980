// The process that holds a pod's namespaces, and nothing else; it needs no other module.
module cloudmesh.org/cluster/engines/pause

go 1.21
