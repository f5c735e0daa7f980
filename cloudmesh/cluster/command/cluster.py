"""The command `cms cluster`: the docopt text, and the way to what it does. No logic, and no import that takes time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmesh.shell.command import PluginCommand

from cloudmesh.cluster.command.console.exit_codes import command


class ClusterCommand(PluginCommand):  # type: ignore[misc]  # cmd5 has no type hints
    """Mixes `cluster` into the cms shell."""

    @command
    def do_cluster(self, args: str, arguments: Mapping[str, Any]) -> None:
        """::

        Usage:
          cluster create -n NAME [-p PROVIDER] [--nodes=N] [--servers=N] [--images=IMAGES] [--debian=RELEASE]
                         [--interface=DEVICE] [--engine-version=VERSION] [--mirror=LOCATION] [--ca-bundle=FILE] [--yes]
                         [--dryrun] [options] [HOSTNAMES...]
          cluster add -n NAME [--server] [--interface=DEVICE] [--mirror=LOCATION] [--yes] [--dryrun] [options]
                      HOSTNAMES...
          cluster remove -n NAME [--force] [--yes] [--dryrun] [options] HOSTNAMES...
          cluster rotate -n NAME [--dryrun] [options]
          cluster upgrade -n NAME [--to=VERSION] [--mirror=LOCATION] [--yes] [--dryrun] [options]
          cluster kill -n NAME [--force] [--yes] [--dryrun] [options]
          cluster backup -n NAME [--passphrase | --passphrase-file=FILE | --recipient=KEY] [--yes] [options] FILE
          cluster restore -n NAME [--passphrase-file=FILE | --identity=FILE] [--nodes=N] [--servers=N]
                          [--images=IMAGES] [--debian=RELEASE] [--interface=DEVICE] [--mirror=LOCATION]
                          [--ca-bundle=FILE] [--yes] [--dryrun] [options] FILE [HOSTNAMES...]
          cluster list [--output=FORMAT] [options]
          cluster info [-n NAME] [--kubeconfig=FILE] [--output=FORMAT] [options]
          cluster submit -n NAME [--param=K=V]... [--params=FILE] [--sweep] [--secrets=FILE] [--id=ID] [--detach]
                         [--dryrun] [--output=FORMAT] [--ca-bundle=FILE] [options] JOB [--] [ARGS...]
          cluster jobs -n NAME [--output=FORMAT] [options] [JOBID]
          cluster logs -n NAME [--follow] [--output=FILE] [options] JOBID
          cluster stop -n NAME [options] JOBID
          cluster get -n NAME [options] JOBID [DEST]
          cluster storage -n NAME list [--output=FORMAT] [options]
          cluster storage -n NAME add (--directory=PATH | --nfs=EXPORT | --s3=URL | --hadoop=SERVICE)
                          [--endpoint=URL] [--region=REGION] [--path-style] [options] VOLUME
          cluster storage -n NAME remove [--yes] [options] VOLUME
          cluster test -n NAME [--output=FORMAT] [--ca-bundle=FILE] [options]
          cluster image list [--output=FORMAT] [IMAGES...]
          cluster image build [--ca-bundle=FILE] [IMAGES...]
          cluster engines [-p PROVIDER] [--engine-version=VERSION] [--mirror=LOCATION]
          cluster schema

        Makes a Nomad or Kubernetes cluster of machines that answer SSH, and runs Spark, Hadoop and container jobs on
        it. Nothing about a cluster is kept on this machine: every command asks the hosts and the engine. A command
        that was interrupted is finished by running it again.

        Commands:
          create   Makes a cluster of the hosts, or of containers on this machine's Docker engine that stand for
                   machines (local hosts) where no host is given. The first host, or the first --servers of them,
                   are servers. Every host is checked before any is changed. Nothing is done to a cluster that
                   is complete; one that is not is completed.
          add      Lets more hosts join, as workers, or with --server as servers. Jobs go on running.
          remove   Drains the hosts, takes them out of the cluster and cleans them. Their jobs move to other hosts;
                   output and results that jobs have left on them move to a server, or are lost with a host that is
                   down: it names these jobs before it asks. A server is removed while a majority of them stays.
          rotate   Gives the cluster new certificates, keys and tokens, while jobs run; clients and hosts with old ones
                   are refused afterwards, and so is a host that was removed by force. Every host has to answer:
                   until all have the new ones, the old ones are accepted too.
          upgrade  Brings the engine to another version, host after host, servers first, while jobs go on. It stops at
                   the first host that is not healthy afterwards; run again, it goes on there. An engine goes from
                   one minor version to the next, and never back.
          kill     Takes the cluster apart and cleans its hosts. Local hosts are removed altogether.
          backup   Saves the cluster into FILE, which its owner alone may read: the engine's state with all jobs,
                   volumes and secrets, the cluster's authorities and keys. Images, and output and results of
                   jobs, are not in it. Jobs go on; a server that is down does not matter while most of them live.
          restore  Makes a cluster again from a backup, on other hosts or on the same ones once they are clean, or on
                   local hosts where no host is given. It has the same id, authorities, secrets and volumes,
                   and knows its jobs; what had not ended begins again. The registry is empty: name the images
                   that services need by --images. A cluster that lives is left alone.
          list     Prints the name of each cluster found.
          info     Shows all clusters, or one with its API address, hosts, roles, health and resources.
          submit   Runs a job, follows its log, and ends with its outcome as exit code. With --sweep it runs one job
                   for each combination of parameters, and prints a table of what they came to. Secrets that the
                   job file names are taken from --secrets, from the environment, or asked for.
          jobs     Shows the jobs of a cluster, or one job with its tasks, their hosts and exit codes.
          logs     Prints all that a job's driver has written, or all tasks of a container job. With --output=FILE both
                   streams go into a new file, however large they are.
          stop     Ends a job.
          get      Copies what the tasks of a job wrote to the directory $CMS_RESULTS from the hosts that ran them,
                   compares it by checksums, and puts it into DEST/TASK. Nothing that is there is written over, and
                   what was interrupted goes on where it was. Links that lead out of the results, pipes, sockets and
                   devices are left out, and named. The results are kept for as long as the job is (its ttlSeconds).
          storage  Shows the volumes that jobs may name under spec.storage, adds one, or removes one; the data itself
                   stays. A volume is a directory on every host, an NFS export, an S3 bucket or the file system
                   of a HadoopService. Jobs reach it by ${storage.VOLUME} in their job file, and by the variable
                   CMS_STORAGE_VOLUME: a URI, file:///MOUNT for directories and exports.
          test     Proves that jobs find on every host what they need: its clock, disk, memory, registry and container
                   runtime, the network between tasks, DNS, each volume, and Spark with an answer that is
                   known. Tells the cause and a remedy of each failure. It needs room for a small job.
          image    Lists the container images, or builds them (all, or those named) on this machine's Docker engine.
          engines  Fetches or builds the engine's programs into the cache, before they are needed.
          schema   Prints the JSON Schema of the job file, for editors and programs.

        Arguments:
          HOSTNAMES  [user@]host[:port], several with commas or blanks between them; node[01-10] is ten hosts.
                     ~/.ssh/config and the SSH agent are honoured. Hosts of a cluster may be named as info shows
                     them, by "name" or "node".
          JOB        A job file (.yaml), a Python program (.py), a Java archive (.jar), or a job in the language of the
                     cluster's engine, which goes there as it is: a Nomad job (.nomad, .hcl, .json), or Kubernetes
                     manifests (.yaml, .json), in the namespace cms-jobs where they name none. A Nomad batch job
                     and Kubernetes Jobs in that namespace are followed; other things are accepted, and that is all.
          ARGS       Arguments of the job's program. Those that start with - come after a lone -- . What stands after
                     it is given to the program as it is: in a script (cms < FILE) and in the shell of cms, words
                     are quoted there as in sh, and variables are not replaced.
          JOBID      The id of a job, as submit --detach and jobs print it.
          DEST       The directory to copy to; ./JOBID-results where none is given.
          VOLUME     The name of a volume: lower-case letters, digits and -.
          IMAGES     Names of images: cloudmesh, hadoop, spark.
          FILE       The file of a backup.

        Options:
          -n NAME --name=NAME              The cluster: lower-case letters, digits and -, at most 40.
          -p PROVIDER --provider=PROVIDER  The engine: nomad, or kubernetes (k8s). [default: nomad]
          --nodes=N            How many local hosts to make, where no host is given. [default: 1]
          --servers=N          How many of the hosts are servers: 1, 3 or 5. [default: 1]
          --server             The hosts become servers. The cluster has 3 or 5 of them then.
          --images=IMAGES      Images to deliver beforehand, with commas between them; submit delivers what it
                               needs.
          --debian=RELEASE     The Debian release of the local hosts: 12 or 13. [default: 13]
          --hosts=HOSTS        Where to look for clusters, written as HOSTNAMES; else CLOUDMESH_CLUSTER_HOSTS in the
                               environment. Local hosts and hosts used before are looked at anyhow.
          --user=USER          The login name on the hosts; root, or one that may use sudo. It, the key and the port
                               are remembered of each host, and need not be given again.
          --key=FILE           The private SSH key to use.
          --port=PORT          The port of the hosts' SSH servers.
          --interface=DEVICE   The network device, or network (10.0.0.0/24), by which the hosts reach each other,
                               where they have several.
          --accept-new-hostkeys  Take the host key of a host not met before. A changed key is refused regardless.
          --engine-version=VERSION  The version of the engine, of those that this program has pinned; a cluster keeps
                               its version until it is upgraded.
          --to=VERSION         The version to upgrade to; without it, the one that new clusters get.
          --mirror=LOCATION       A directory or URL that has the engine's programs, for sites without internet.
          --ca-bundle=FILE     Certificates that image builds shall trust as well, for sites with their own CA.
          --param=K=V          A parameter of the job file; may be given many times.
          --params=FILE        A YAML or JSON file of parameters; --param goes before it.
          --sweep              Run a job for each combination of the values of parameters that have several, with
                               commas between them: --param=slices=1,2,4. At most 100 jobs.
          --secrets=FILE       The values of the job's secrets: a YAML or JSON mapping, or lines KEY=VALUE.
          --id=ID              The job's id. The same id with the same content again is the same job, not a second.
                               The jobs of a sweep are ID-1, ID-2 and so on.
          --passphrase         Encrypt the backup by a passphrase, which is asked for. Of a file that is encrypted so,
                               restore asks for it anyhow.
          --passphrase-file=FILE  A file whose first line is the passphrase.
          --recipient=KEY      Encrypt the backup for a public key of age (age1...) or of SSH ("ssh-ed25519 ...").
          --identity=FILE      The file of the private key for which the backup is encrypted, of age or of SSH.
          --kubeconfig=FILE    Write a file by which kubectl reaches a Kubernetes cluster: an administrator's key, for
                               a week. A file that exists is left alone.
          --detach             Print the job's id as soon as the engine has accepted it, and do not wait.
          --follow             Go on until the job ends.
          --dryrun             Print what would be done, phase by phase on each host, or the job; and do nothing.
          --directory=PATH     The volume is this directory on every host; it is made where it is missing. Each host has
                               its own, unless it is shared among them already.
          --nfs=EXPORT         The volume is an NFS export, SERVER:/PATH, mounted on every host.
          --s3=URL             The volume is a bucket or a part of it: s3a://BUCKET/PREFIX. The keys come from
                               AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or are asked for; the
                               cluster keeps them, and jobs that name the volume get them.
          --endpoint=URL       The address of an S3 store other than Amazon's.
          --region=REGION      The region of the bucket.
          --path-style         The bucket stands in the path of the store's URLs and not in the host name.
          --hadoop=SERVICE     The volume is in the file system of a HadoopService that runs: JOBID or JOBID/PATH.
          --force              Go on where a host does not answer or cannot be drained.
          --yes                Ask nothing. Questions are asked on a terminal only.
          --output=FORMAT      table, json, yaml or csv. [default: table]

        Exit codes:
          0 done, or nothing to do    1 it failed, or the job did    2 wrong usage, name or job file
          3 no such cluster, job or host    130 interrupted
          The result goes to stdout; progress, notes and errors go to stderr.

        Examples:
          cms cluster create -n demo --nodes=3
              three local hosts, a Nomad cluster on them
          cms cluster create -n prod --user=admin --servers=3 node[01-10]
              a cluster of ten machines
          cms cluster add -n prod --user=admin node11
              one more machine
          cms cluster remove -n prod --user=admin node03
              its jobs move to other machines, then it is clean
          cms cluster rotate -n prod
              new certificates, keys and tokens
          cms cluster info -n demo
              API address, hosts, roles, health and resources
          cms cluster submit -n demo pi.py -- 100
              runs a Spark program, prints what it prints
          cms cluster submit -n demo --param=input=/data/a --id=nightly wordcount.yaml
              runs a job file with a parameter, exactly once
          cms cluster submit -n demo --sweep --param=slices=1,2,4 pi.yaml
              three jobs beside each other, and a table of how they ended
          cms cluster submit -n demo --secrets=keys.env copy.yaml
              runs a job that gets secrets
          cms cluster submit -n demo --dryrun web.nomad
              what Nomad would do with a job in its own language
          cms cluster logs -n demo --follow nightly
              what the job prints, until it ends
          cms cluster logs -n demo --output=nightly.log nightly
              all that it printed, in a file
          cms cluster jobs -n demo --output=json
              the cluster's jobs, for a program to read
          cms cluster get -n demo nightly
              what its tasks wrote to $CMS_RESULTS, in nightly-results
          cms cluster storage -n demo add --directory=/srv/data data
              jobs may name the storage "data"
          cms cluster test -n demo
              a table of what works on each host, and what does not
          cms cluster backup -n prod --passphrase prod.backup
              all that is needed to have it again
          cms cluster restore -n prod --user=admin --servers=3 prod.backup new[01-10]
              the same cluster on other machines
          cms cluster kill -n demo
              nothing is left
        """
        from cloudmesh.cluster.command.actions import perform

        perform(arguments)
