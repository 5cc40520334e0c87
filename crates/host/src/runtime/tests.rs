//! Against answers recorded from docker 20.10 and podman 4.3, shortened to what surrounds the
//! fields that are read. `tests/runtimes.rs` runs the real ones where they are installed.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

const LIST: &str = r#"[{"Id":"f18b0ba88e0f","Names":["/web-1"],"Image":"skeptest","Labels":{"app":"web"},"State":"running","Status":"Up 2 seconds","HostConfig":{"NetworkMode":"none"}}]"#;
const LIST_OF_TWO: &str =
    r#"[{"Id":"f18b0ba88e0f","Names":["/web-1"]},{"Id":"03851124b68b","Names":["/web-2"]}]"#;
const WEB_1: &str = r#"{"Id":"f18b0ba88e0f","State":{"Status":"running","Running":true,"Pid":9232,"ExitCode":0},"Name":"/web-1","Driver":"vfs","Config":{"Hostname":"f18b0ba88e0f","Labels":{"app":"web"}}}"#;
const WEB_2: &str = r#"{"Id":"03851124b68b","State":{"Status":"running","Running":true,"Pid":300},"Name":"/web-2","Config":{"Labels":null}}"#;
const CREATED: &str = r#"{"Id":"0f","State":{"Status":"created","Running":false,"Pid":0},"Name":"/idle","Config":{"Labels":{}}}"#;
const NOT_FOUND: &str = r#"{"message":"No such container: none"}"#;

/// A runtime that gives these answers, (target, status, body), at a socket in `folder`.
fn recorded(
    folder: &Path,
    answers: &'static [(&'static str, &'static str, &'static str)],
) -> Runtime {
    let path = folder.join("recorded.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let target = request.split(' ').nth(1).unwrap_or_default();
            let known = answers.iter().find(|(known, _, _)| *known == target);
            let (_, status, body) = known.unwrap_or(&("", "404 Not Found", NOT_FOUND));
            let answer = format!("HTTP/1.0 {status}\r\nApi-Version: 1.41\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Runtime::at(Kind::Docker, path)
}

fn labelled(pairs: &[(&str, &str)]) -> Wanted {
    Wanted::Labels(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn named(name: &str) -> Wanted {
    Wanted::Name(name.to_owned())
}

/// `{"label":["app=web"],"status":["running"]}`
const BY_LABEL: &str = "/containers/json?filters=%7B%22label%22%3A%5B%22app%3Dweb%22%5D%2C%22status%22%3A%5B%22running%22%5D%7D";

#[tokio::test]
async fn recorded_answers() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = recorded(
        folder.path(),
        &[
            (BY_LABEL, "200 OK", LIST),
            ("/containers/web-1/json", "200 OK", WEB_1),
            ("/containers/f18b0ba88e0f/json", "200 OK", WEB_1),
            ("/containers/idle/json", "200 OK", CREATED),
        ],
    );
    let found = runtime.find(&named("web-1")).await.unwrap();
    assert_eq!(
        (found.id.as_str(), found.name.as_str(), found.pid),
        ("f18b0ba88e0f", "web-1", 9232)
    );
    assert_eq!(found.labels, [("app".to_owned(), "web".to_owned())].into());
    assert_eq!(runtime.find(&labelled(&[("app", "web")])).await.unwrap(), found);
    for absent in ["none", "idle", "a/../b"] {
        let error = runtime.find(&named(absent)).await.unwrap_err();
        let expect = format!("docker has no running container named `{absent}`");
        assert_eq!(error.to_string(), expect);
    }
}

#[tokio::test]
async fn several_match() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = recorded(
        folder.path(),
        &[
            (BY_LABEL, "200 OK", LIST_OF_TWO),
            ("/containers/f18b0ba88e0f/json", "200 OK", WEB_1),
            ("/containers/03851124b68b/json", "200 OK", WEB_2),
        ],
    );
    let error = runtime.find(&labelled(&[("app", "web")])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 containers of docker match with labels app=web: web-1, web-2; name one of them"
    );
}

#[tokio::test]
async fn answers_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = recorded(
        folder.path(),
        &[
            ("/containers/text/json", "200 OK", "hello"),
            ("/containers/empty/json", "200 OK", r#"{"State":{"Pid":1}}"#),
            ("/containers/broken/json", "500 Internal Server Error", r#"{"message":"on fire"}"#),
            (BY_LABEL, "200 OK", r#"{"not":"a list"}"#),
        ],
    );
    for (wanted, expect) in [
        (named("text"), "not JSON"),
        (named("empty"), "a container without `Id`"),
        (named("broken"), "status 500: on fire"),
        (labelled(&[("app", "web")]), "its list is not a list"),
    ] {
        let error = runtime.find(&wanted).await.unwrap_err();
        assert!(matches!(error, Error::RuntimeAnswer { .. }), "{error}");
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[tokio::test]
async fn a_runtime_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    for (kind, hint) in [
        (Kind::Docker, "set DOCKER_HOST=unix:///path/of/its.sock"),
        (Kind::Podman, "set CONTAINER_HOST=unix:///path/of/its.sock"),
        (Kind::Containerd, "set SKEP_CONTAINERD_STATE"),
    ] {
        let error = Runtime::at(kind, &socket).find(&named("web-1")).await.unwrap_err();
        assert!(matches!(error, Error::RuntimeMissing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(socket.to_str().unwrap()) && text.contains(hint), "{text}");
    }
}

#[tokio::test]
async fn tasks_of_containerd() {
    let folder = tempfile::tempdir().unwrap();
    let pid = std::process::id();
    for (task, pid, config) in [
        ("k8s.io/aaa", pid, r#"{"annotations":{"io.kubernetes.cri.container-name":"web"}}"#),
        ("default/bbb", pid, "{}"),
        ("default/ended", u32::MAX, "{}"),
        ("default/torn", pid, "{"),
    ] {
        let task = folder.path().join(task);
        std::fs::create_dir_all(&task).unwrap();
        std::fs::write(task.join("init.pid"), pid.to_string()).unwrap();
        std::fs::write(task.join("config.json"), config).unwrap();
    }
    let runtime = Runtime::at(Kind::Containerd, folder.path());
    let by_name = runtime.find(&named("web")).await.unwrap();
    assert_eq!((by_name.id.as_str(), by_name.name.as_str(), by_name.pid), ("aaa", "web", pid));
    assert_eq!(runtime.find(&named("aaa")).await.unwrap(), by_name);
    let label = [("io.kubernetes.cri.container-name", "web")];
    assert_eq!(runtime.find(&labelled(&label)).await.unwrap(), by_name);
    assert_eq!(runtime.find(&named("bbb")).await.unwrap().name, "bbb");
    assert_eq!(runtime.list().await.unwrap().len(), 2);
    for absent in ["ended", "torn", "default"] {
        let error = runtime.find(&named(absent)).await.unwrap_err();
        assert!(matches!(error, Error::ContainerMissing { .. }), "{error}");
    }
}

#[tokio::test]
async fn units() {
    let folder = tempfile::tempdir().unwrap();
    // Any folder with this file looks like a cgroup; the kernel's own are tried in `cgroup`.
    let unit = folder.path().join("system.slice/nginx.service");
    std::fs::create_dir_all(&unit).unwrap();
    std::fs::write(unit.join("cgroup.procs"), "").unwrap();
    let root = Root::at(folder.path());
    for name in ["nginx.service", "nginx"] {
        assert_eq!(unit_cgroup(&root, name).await.unwrap().path(), unit);
    }
    for absent in ["skep-test-none.service", "", "../x", "-h"] {
        let error = unit_cgroup(&root, absent).await.unwrap_err();
        assert!(matches!(error, Error::UnitMissing { .. }), "{error}");
    }
}
