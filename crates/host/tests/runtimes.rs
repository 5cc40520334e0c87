//! Real docker, podman and containerd, each with private folders and (where it has a daemon) in a
//! network namespace of its own. A runtime that isn't installed is skipped with a printed reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use host::NetNamespace;
use host::cgroup::Root;
use host::runtime::{Container, Kind, Runtime, Wanted};

/// A folder of containers' things, and what has to end with the test.
struct Ground {
    folder: tempfile::TempDir,
    namespace: NetNamespace,
    daemons: Vec<Child>,
    last_words: Vec<String>,
    /// Parent of the containers' cgroups, in every hierarchy.
    cgroup: String,
}

impl Ground {
    fn new(runtime: &str, needs: &[&str]) -> Option<Self> {
        let installed = |program: &&&str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        };
        if let Some(missing) = needs.iter().find(|program| !installed(program)) {
            println!("{runtime}: skipped, {missing} is not installed");
            return None;
        }
        let Ok(namespace) = NetNamespace::unnamed() else {
            println!("{runtime}: skipped, making network namespaces needs root");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let cgroup = format!("skep-test-{runtime}-{}", std::process::id());
        let ground =
            Ground { folder, namespace, daemons: Vec::new(), last_words: Vec::new(), cgroup };
        ground.lay_root_file_system();
        Some(ground)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// `sleep` and the libraries it is linked with.
    fn lay_root_file_system(&self) {
        let root = PathBuf::from(self.path("rootfs"));
        let program = Path::new("/bin/sleep");
        let libraries = Command::new("ldd").arg(program).output().unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        let files = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for file in files.map(Path::new).chain([program]) {
            let to = root.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, to).unwrap();
        }
        for folder in ["proc", "sys", "dev", "etc", "tmp", "run"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
    }

    /// Runs a command line to its end; words are separated by single spaces.
    fn run(&self, command: &str) -> String {
        let output = self.namespace.run(|| words(command).output()).unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}{errors}");
        text
    }

    /// Starts a daemon and waits for its socket.
    fn start(&mut self, command: &str, socket: &str) {
        let log = fs::File::create(self.path("log")).unwrap();
        let log = (log.try_clone().unwrap(), log);
        let started =
            self.namespace.run(|| words(command).stdout(log.0).stderr(log.1).spawn()).unwrap();
        self.daemons.push(started.unwrap());
        for _ in 0..200 {
            if std::os::unix::net::UnixStream::connect(socket).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{command}: {}", fs::read_to_string(self.path("log")).unwrap());
    }

    /// What the container found has to be, by the kernel's word.
    fn check(&self, found: &Container) {
        let root = Root::find().unwrap();
        let cgroup = found.cgroup(&root).unwrap();
        assert!(cgroup.to_str().unwrap().contains(&self.cgroup), "{}", cgroup.display());
        // A runtime may say "started" a moment before its own first process becomes the workload's.
        let arguments = || host::process::Process::read(found.pid).unwrap().arguments;
        let started = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            arguments() == ["/bin/sleep", "600"]
        });
        assert!(started, "{:?}", arguments());
        let inside = found.namespace().unwrap();
        assert_ne!(inside, NetNamespace::current().unwrap());
        assert_ne!(inside, self.namespace);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for command in &self.last_words {
            // The test's own failure, if any, is the one to see.
            let _ = self.namespace.run(|| words(command).output());
        }
        for daemon in self.daemons.iter_mut().rev() {
            let pid = nix::unistd::Pid::from_raw(daemon.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = daemon.wait();
        }
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let hierarchies = hierarchies.map(|hierarchy| hierarchy.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            // The kernel empties a cgroup a moment after its last process has ended.
            let cgroup = hierarchy.join(&self.cgroup);
            for _ in 0..100 {
                remove_empty(&cgroup);
                if !cgroup.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn remove_empty(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

fn words(command: &str) -> Command {
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

fn named(name: &str) -> Wanted {
    Wanted::Name(name.into())
}

fn labelled(key: &str, value: &str) -> Wanted {
    Wanted::Labels([(key.to_owned(), value.to_owned())].into())
}

#[tokio::test]
async fn podman() {
    let Some(mut ground) = Ground::new("podman", &["podman", "runc"]) else { return };
    let podman = format!(
        "podman --root {} --runroot {} --tmpdir {} --storage-driver vfs \
         --cgroup-manager cgroupfs --runtime runc",
        ground.path("root"),
        ground.path("run"),
        ground.path("tmp")
    );
    let socket = ground.path("podman.sock");
    ground.last_words.push(format!("{podman} rm -f -a -t 0"));
    ground.run(&format!(
        "{podman} run -d --name web-1 --label app=web --network=none --cgroup-parent /{} \
         --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --rootfs {} /bin/sleep 600",
        ground.cgroup,
        ground.path("rootfs")
    ));
    ground.start(&format!("{podman} system service --time=0 unix://{socket}"), &socket);
    let runtime = Runtime::at(Kind::Podman, &socket);
    let found = runtime.find(&named("web-1")).await.unwrap();
    ground.check(&found);
    assert_eq!(found.name, "web-1");
    assert_eq!(runtime.find(&labelled("app", "web")).await.unwrap(), found);
    assert_eq!(runtime.list().await.unwrap(), [found]);
    assert!(runtime.find(&named("web-2")).await.is_err());
}

#[tokio::test]
async fn containerd() {
    let Some(mut ground) = Ground::new("containerd", &["containerd", "ctr", "runc"]) else {
        return;
    };
    let ctr = start_containerd(&mut ground);
    // runc's own folder of containers is shared by all containerds of the machine.
    let task = ground.cgroup.clone();
    ground.last_words.push(format!("{ctr} task rm -f {task}"));
    ground.last_words.push(format!("{ctr} container rm {task}"));
    ground.run(&format!(
        "{ctr} run -d --null-io --rootfs --annotation nerdctl/name=web-1 --cgroup {}/task \
         {} {task} /bin/sleep 600",
        ground.cgroup,
        ground.path("rootfs")
    ));
    let tasks = ground.path("state/io.containerd.runtime.v2.task");
    let runtime = Runtime::at(Kind::Containerd, tasks);
    let found = runtime.find(&named("web-1")).await.unwrap();
    ground.check(&found);
    assert_eq!(found.id, task);
    assert_eq!(runtime.find(&named(&task)).await.unwrap(), found);
    assert_eq!(runtime.find(&labelled("nerdctl/name", "web-1")).await.unwrap(), found);
    ground.run(&format!("{ctr} task kill -s KILL {task}"));
    for _ in 0..100 {
        if runtime.find(&named("web-1")).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("an ended task is still found");
}

#[tokio::test]
async fn docker() {
    let needs = ["dockerd", "docker", "containerd", "ctr", "runc"];
    let Some(mut ground) = Ground::new("docker", &needs) else { return };
    start_containerd(&mut ground);
    let socket = ground.path("docker.sock");
    let dockerd = format!(
        "dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
         --ip-masq=false --storage-driver vfs --data-root {} --exec-root {} --pidfile {} \
         --containerd {} -H unix://{socket}",
        ground.path("data"),
        ground.path("exec"),
        ground.path("docker.pid"),
        ground.path("containerd.sock")
    );
    ground.start(&dockerd, &socket);
    let docker = format!("docker -H unix://{socket}");
    ground.run(&format!("tar -C {} -cf {} .", ground.path("rootfs"), ground.path("image.tar")));
    ground.run(&format!("{docker} import {} skep-test", ground.path("image.tar")));
    ground.last_words.push(format!("{docker} rm -f web-1"));
    ground.run(&format!(
        "{docker} run -d --name web-1 --label app=web --network=none --cgroup-parent /{} \
         skep-test /bin/sleep 600",
        ground.cgroup
    ));
    let runtime = Runtime::at(Kind::Docker, &socket);
    let found = runtime.find(&named("web-1")).await.unwrap();
    ground.check(&found);
    assert_eq!(found.name, "web-1");
    assert_eq!(runtime.find(&labelled("app", "web")).await.unwrap(), found);
    assert_eq!(runtime.list().await.unwrap(), [found]);
    ground.run(&format!("{docker} rm -f web-1"));
    assert!(runtime.find(&named("web-1")).await.is_err());
}

/// Starts it without Kubernetes' plugin; returns how to talk to it.
fn start_containerd(ground: &mut Ground) -> String {
    let socket = ground.path("containerd.sock");
    let (root, state, config) =
        (ground.path("containerd"), ground.path("state"), ground.path("containerd.toml"));
    let text = format!(
        "version = 2\nroot = \"{root}\"\nstate = \"{state}\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{socket}\"\n[ttrpc]\naddress = \"{socket}.ttrpc\"\n"
    );
    fs::write(&config, text).unwrap();
    ground.start(&format!("containerd -c {config}"), &socket);
    format!("ctr -a {socket}")
}
