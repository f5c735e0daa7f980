// Stands beside a job on a HadoopService: Companion DIRECTORY TAG. Says "ready, replication N" once the service takes jobs and the
// job has an empty directory there. When it is told to end (SIGTERM), it ends whatever of the job still runs in the service, and
// takes the directory away; being there already, it needs no seconds to start for that, which a job that is stopped may not have.
package cloudmesh;

import java.io.IOException;
import java.util.EnumSet;
import java.util.Set;
import java.util.concurrent.TimeUnit;

import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.DatanodeReportType;
import org.apache.hadoop.util.ShutdownHookManager;
import org.apache.hadoop.yarn.api.protocolrecords.GetApplicationsRequest;
import org.apache.hadoop.yarn.api.records.ApplicationReport;
import org.apache.hadoop.yarn.api.records.YarnApplicationState;
import org.apache.hadoop.yarn.client.api.YarnClient;
import org.apache.hadoop.yarn.conf.YarnConfiguration;
import org.apache.hadoop.yarn.exceptions.YarnException;

public final class Companion {
    private static final EnumSet<YarnApplicationState> ALIVE = EnumSet.of(
            YarnApplicationState.NEW, YarnApplicationState.NEW_SAVING, YarnApplicationState.SUBMITTED,
            YarnApplicationState.ACCEPTED, YarnApplicationState.RUNNING);
    private static final int SECONDS = 7;

    private final YarnClient yarn = YarnClient.createYarnClient();
    private final DistributedFileSystem files;
    private final Path directory;
    private final String tag;

    private Companion(Path directory, String tag) throws IOException {
        YarnConfiguration configuration = new YarnConfiguration();
        yarn.init(configuration);
        yarn.start();
        this.files = (DistributedFileSystem) FileSystem.get(configuration);
        this.directory = directory;
        this.tag = tag;
    }

    private boolean begun() throws InterruptedException {
        try {
            if (files.getDataNodeStats(DatanodeReportType.LIVE).length == 0
                    || yarn.getYarnClusterMetrics().getNumNodeManagers() == 0) {
                return false;
            }
            // An earlier try of the job may have had no time for that.
            end();
            return files.mkdirs(files.getHomeDirectory());
        } catch (IOException | YarnException error) {
            System.err.println("not yet: " + error);
            return false;
        }
    }

    private void end() throws IOException, YarnException {
        GetApplicationsRequest request = GetApplicationsRequest.newInstance(ALIVE);
        request.setApplicationTags(Set.of(tag));
        for (ApplicationReport each : yarn.getApplications(request)) {
            yarn.killApplication(each.getApplicationId());
        }
        files.delete(directory, true);
    }

    private void endAtLast() {
        try {
            end();
        } catch (IOException | YarnException error) {
            System.err.println("what is left of the job stays in the service: " + error);
        }
    }

    public static void main(String[] words) throws Exception {
        Companion companion = new Companion(new Path(words[0]), words[1]);
        while (!companion.begun()) {
            Thread.sleep(1000);
        }
        // Before Hadoop closes the file system.
        ShutdownHookManager.get().addShutdownHook(
                companion::endAtLast, FileSystem.SHUTDOWN_HOOK_PRIORITY + 10, SECONDS, TimeUnit.SECONDS);
        System.out.println("ready, replication " + companion.files.getServerDefaults().getReplication());
        Thread.currentThread().join();
    }
}
