// Runs a class: EndWithMain CLASS ARGUMENTS. When its main method has ended, the process ends, whatever threads are left: with 0, or
// with 1 where main has thrown something. A JVM by itself waits for all threads that are no daemons.
package cloudmesh;

import java.lang.reflect.InvocationTargetException;
import java.util.Arrays;
import java.util.stream.Collectors;

public final class EndWithMain {
    private EndWithMain() {
    }

    public static void main(String[] arguments) throws ReflectiveOperationException {
        var main = Class.forName(arguments[0]).getMethod("main", String[].class);
        int status = 0;
        try {
            main.invoke(null, (Object) Arrays.copyOfRange(arguments, 1, arguments.length));
        } catch (InvocationTargetException failure) {
            System.err.print("Exception in thread \"" + Thread.currentThread().getName() + "\" ");
            failure.getCause().printStackTrace();
            status = 1;
        }
        String left = Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> !thread.isDaemon() && thread != Thread.currentThread() && thread.getThreadGroup() != null)
                .filter(thread -> thread.getThreadGroup().getName().equals("main"))
                .map(Thread::getName).sorted().limit(5).collect(Collectors.joining(", "));
        if (!left.isEmpty()) {
            System.err.println("driver: main has ended; threads that are left end with it: " + left);
        }
        System.exit(status);
    }
}
