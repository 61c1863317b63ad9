"""The checks of Tests/kubernetes/run, in a network of their own. Prints a line per check and `N passed, N failed`."""

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ["NEEDLETAIL_BIN"]).resolve()
MANIFEST = ROOT / "deploy/kubernetes/needletail.yaml"
#: The oldest release of Kubernetes that the manifest is for, and the newest that the schemas know.
RELEASES = ("1.28", kubernetes_validate.latest_version())
#: From a probe that fails to a kubelet, an endpoint and a proxy that know of it.
ENDPOINT_SECONDS = 2

counts = {"passed": 0, "failed": 0}


def expect(holds, what, found=""):
    counts["passed" if holds else "failed"] += 1
    print(f"{'passed' if holds else 'FAILED'}  {what}{'' if holds else f': found {found!r}'}", flush=True)


def until(what, probe, seconds=30):
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return found


documents = list(yaml.safe_load_all(MANIFEST.read_text()))
JOB = MANIFEST.parent / "tune-job.yaml"
job = yaml.safe_load(JOB.read_text())
cron_job = yaml.safe_load((MANIFEST.parents[1] / "examples/retraining/cronjob.yaml").read_text())
autoscaler = yaml.safe_load((MANIFEST.parent / "autoscaler.yaml").read_text())
kinds = {(each["kind"], each["metadata"]["name"]): each for each in documents}
config_map = kinds["ConfigMap", "needletail"]
stateful_set = kinds["StatefulSet", "needletail"]["spec"]
pod = stateful_set["template"]
[container] = pod["spec"]["containers"]
settings = yaml.safe_load(config_map["data"]["server.yaml"])
ports = {each["name"]: each["containerPort"] for each in container["ports"]}
mounts = {each["mountPath"]: each for each in container["volumeMounts"]}


def check_schemas():
    for release in RELEASES:
        faults = []
        for document in [*documents, autoscaler, job, cron_job]:
            try:
                kubernetes_validate.validate(document, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                faults.append(f"{document['kind']}: {error.message}")
        expect(not faults, f"every object is one of Kubernetes {release}", faults)


def check_names():
    labels = pod["metadata"]["labels"]
    selectors = [stateful_set["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for (kind, _), each in kinds.items() if kind == "Service"]
    selectors += [kinds["PodDisruptionBudget", "needletail"]["spec"]["selector"]["matchLabels"]]
    selectors += [kinds["NetworkPolicy", "needletail"]["spec"]["podSelector"]["matchLabels"]]
    expect(all(each.items() <= labels.items() for each in selectors), "every selector finds the pods", selectors)
    headless = kinds.get(("Service", stateful_set["serviceName"]))
    expect(headless and headless["spec"]["clusterIP"] == "None", "the set has its headless service", headless)

    listening = {name: int(settings[key].rsplit(":", 1)[1]) for name, key in (("calls", "listen"), ("admin", "admin"))}
    expect(ports == listening, "the container's ports are those of the configuration", (ports, listening))
    targets = [each["targetPort"] for (k, _), s in kinds.items() if k == "Service" for each in s["spec"]["ports"]]
    ingress = kinds["NetworkPolicy", "needletail"]["spec"]["ingress"]
    targets += [each["port"] for rule in ingress for each in rule["ports"]]
    targets += [container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")]
    expect(set(targets) == set(ports), "services, policy and probes name ports of the container", targets)
    annotations = pod["metadata"]["annotations"]
    expect(annotations["prometheus.io/port"] == str(ports["admin"]), "Prometheus scrapes the admin port", annotations)


def check_volumes():
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    claims = {each["metadata"]["name"] for each in stateful_set["volumeClaimTemplates"]}
    used = {each["name"] for each in mounts.values()}
    expect(used == set(volumes) | claims, "every volume is mounted, and every mount has a volume", used)
    expect(volumes["config"]["configMap"]["name"] == config_map["metadata"]["name"], "the configuration is mounted")
    claim = volumes["models"]["persistentVolumeClaim"]
    expect(("PersistentVolumeClaim", claim["claimName"]) in kinds, "the store's claim is in the manifest", claim)
    expect(mounts[settings["store"]]["readOnly"], "the server cannot write to the store")
    state = mounts[settings["state_directory"]]
    expect(state["name"] in claims and not state.get("readOnly"), "each server has a state directory of its own", state)
    expect(not any("subPath" in each for each in mounts.values()), "no mount is cut off from updates by subPath")
    # Secrets hold what is not in the manifest: its first lines tell how to make them.
    head = MANIFEST.read_text().split("apiVersion", 1)[0]
    made = set(re.findall(r"kubectl create secret \w+ (\S+)", head))
    wanted = {each["secret"]["secretName"] for each in volumes.values() if "secret" in each}
    expect(made == wanted, "the commands make the secrets that are mounted", (made, wanted))


def check_times_and_limits():
    stop, readiness = settings["stop"], container["readinessProbe"]
    killed = pod["spec"]["terminationGracePeriodSeconds"]
    expect(killed >= stop["limit_seconds"] + 5, "the pod is not killed before the server has drained", killed)
    seen = readiness["periodSeconds"] * readiness["failureThreshold"] + ENDPOINT_SECONDS
    expect(stop["grace_seconds"] >= seen, "the server answers until all know that it is not ready", seen)
    resources = container["resources"]
    expect(resources["limits"]["cpu"].isdecimal(), "the CPU limit is whole processors", resources)
    expect(resources["requests"] == resources["limits"], "the pod is of the class Guaranteed", resources)
    expect("threads" not in settings and "memory_max" not in settings, "threads and memory follow the pod's limits")


def check_autoscaler():
    target = autoscaler["spec"]["scaleTargetRef"]
    found = kinds.get((target["kind"], target["name"]))
    expect(found and found["apiVersion"] == target["apiVersion"], "the autoscaler scales the set", target)
    least = autoscaler["spec"]["minReplicas"]
    expect(least == stateful_set["replicas"], "it begins where the manifest does", least)


def check_image():
    source = (ROOT / "Sources/NeedletailCore/ProductVersion.swift").read_text()
    version = re.search(r'needletailVersion = "(.*)"', source)
    expect(container["image"].endswith(f":{version[1]}"), "the image is of this version", container["image"])
    containerfile = (ROOT / "deploy/kubernetes/Containerfile").read_text()
    expect(f":{version[1]} " in containerfile, "and so is the one that the Containerfile builds")
    [debian] = re.findall(r"^debian=\((.*)\)$", (ROOT / "deploy/release").read_text(), re.MULTILINE)
    [installed] = re.findall(r"--no-install-recommends \\\n\s+(.*) \\$", containerfile, re.MULTILINE)
    expect(installed.split() == debian.split(), "the image has the packages of the release", installed)
    expect("ARG PACKAGES=\n" in containerfile and "    ${PACKAGES} \\\n" in containerfile, "and takes more of them")
    user = pod["spec"]["securityContext"]["runAsUser"]
    expect(f"USER {user}:" in containerfile, "the image's user is that of the pod", user)


def check_job(work):
    """The Job of workers: what it mounts and reads, and its command with the program itself."""
    spec = job["spec"]
    [worker] = spec["template"]["spec"]["containers"]
    volumes = {each["name"]: each for each in spec["template"]["spec"]["volumes"]}
    expect({each["name"] for each in worker["volumeMounts"]} == set(volumes), "the job mounts its volumes", volumes)
    head = JOB.read_text().split("apiVersion", 1)[0]
    [variable] = worker["env"]
    reference = variable["valueFrom"]["secretKeyRef"]
    made = re.search(r"create secret generic (\S+) --from-literal (\w+)=", head)
    expect(made.groups() == (reference["name"], reference["key"]), "the command makes the job's secret", reference)
    made = re.search(r"create configmap (\S+) --from-file (\S+)", head)
    path = worker["command"][-1]
    [mount] = [each["mountPath"] for each in worker["volumeMounts"] if each["name"] == "run"]
    expect(volumes["run"]["configMap"]["name"] == made[1], "and its run file", volumes)
    expect(path == f"{mount}/{made[2]}", "which it names", path)
    expect(spec["parallelism"] == spec["completions"], "all workers run at once", spec["parallelism"])
    ignored = spec["podFailurePolicy"]["rules"][0]
    expect(
        ignored["action"] == "Ignore" and spec["template"]["spec"]["restartPolicy"] == "Never", "evictions are ignored"
    )
    tag = worker["image"].rsplit(":", 1)[1]
    expect(container["image"].endswith(f":{tag}"), "the image is of the server's version", worker["image"])
    (work / "job").mkdir()
    (work / "job/data.csv").write_text("a,b\n" + "".join(f"{k},{k % 3}\n" for k in range(60)))
    text = "data: { files: [data.csv] }\ntarget: { column: b }\nmodel: { family: gbdt }\n"
    (work / "job/run.yaml").write_text(text)
    command = [PROGRAMS / "needletail-trainer", *worker["command"][1:-1], work / "job/run.yaml", *worker["args"]]
    nowhere = {variable["name"]: "postgresql://tuner:secret@127.0.0.1:1/studies", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=nowhere)
    expect(
        done.returncode == 1 and "study postgresql://tuner@127.0.0.1:1/studies" in done.stderr,
        "the worker takes its options and looks for the study of the secret",
        (done.returncode, done.stderr),
    )
    expect("secret" not in done.stderr, "and its log has no password", done.stderr)


class Pod:
    """The container's process, with a directory for each of its mounts."""

    def __init__(self, work):
        self.work = work
        self.places = {path: work / mount["name"] for path, mount in mounts.items()}
        for place in self.places.values():
            place.mkdir()
        for name, text in config_map["data"].items():
            (self.places["/etc/needletail"] / name).write_text(self.moved(text))
        secret = self.places["/etc/needletail-tls"]
        self.run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "1", "-subj", "/CN=needletail", "-addext", "subjectAltName=DNS:localhost", "-keyout",
            secret / "tls.key", "-out", secret / "tls.crt",
        )  # fmt: skip
        made = self.run(PROGRAMS / "needletail", "key", "generate", "checkout")
        (work / "checkout.key").write_text(made.stdout)
        (self.places["/etc/needletail-keys"] / "keys.yaml").write_text("keys:\n" + made.stderr)
        self.process = None

    def moved(self, text):
        """The text with the mounts' directories in place of their paths, the longest path first."""
        for path in sorted(self.places, key=len, reverse=True):
            text = text.replace(path, str(self.places[path]))
        return text

    def run(self, *command, status=0):
        done = subprocess.run([str(each) for each in command], cwd=self.work, capture_output=True, text=True)
        if done.returncode != status:
            raise AssertionError(f"{command[0]} ends with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def server(self, *more):
        return [PROGRAMS / "needletail-server", *(self.moved(each) for each in container["args"]), *more]

    def start(self):
        environment = {"PATH": "/usr/bin:/bin"}
        with open(self.work / "log", "w") as log:
            self.process = subprocess.Popen(
                self.server(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def get(self, path, scheme):
        """Status and text of a path of the admin port, asked as a kubelet does; status 0 if nobody answers."""
        unchecked = ssl._create_unverified_context()
        try:
            url = f"{scheme.lower()}://localhost:{ports['admin']}{path}"
            with urllib.request.urlopen(url, timeout=3, context=unchecked) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def probe(self, name):
        return self.get(container[name]["httpGet"]["path"], container[name]["httpGet"]["scheme"])[0]

    def call(self, *command):
        calls = f"localhost:{ports['calls']}"
        flags = ["--server", calls, "--tls-ca", self.work / "tls/tls.crt", "--api-key-file", self.work / "checkout.key"]
        return subprocess.run(
            [str(each) for each in (PROGRAMS / "needletail", *command, *flags)], capture_output=True, text=True
        )


def check_server(work):
    server = Pod(work)
    paths = re.findall(r'["\s](/[^\s"]+)', config_map["data"]["server.yaml"])
    outside = [each for each in paths if not each.startswith(tuple(mounts))]
    expect(paths and not outside, "every path of the configuration is in a volume", outside)
    checked = subprocess.run(server.server("--check"), capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    expect(checked.returncode == 0, "needletail-server --check passes the embedded configuration", checked.stderr)

    trust = server.run(PROGRAMS / "needletail", "bundle", "keygen", "release").stdout
    (work / "config/trust.yaml").write_text(trust[trust.index("keys:") :])
    server.start()
    try:
        until("an answer of the admin port", lambda: server.probe("livenessProbe"))
        expect(server.probe("livenessProbe") == 200, "the liveness probe passes before there is a model")
        expect(server.probe("readinessProbe") == 503, "the readiness probe fails before there is a model")
        server.run(
            PROGRAMS / "needletail-trainer", "train", ROOT / "deploy/examples/wine/train.yaml",
            "--output", work / "run", "--publish", work / "models", "--key", work / "release.key",
        )  # fmt: skip
        until("readiness", lambda: server.probe("readinessProbe") == 200)
        expect(True, "the readiness probe passes once the store's model serves")
        annotations = {key.split("/")[1]: text for key, text in pod["metadata"]["annotations"].items()}
        status, text = server.get(annotations["path"], annotations["scheme"])
        is_metrics = status == 200 and "needletail_build_info" in text
        expect(is_metrics, "the annotated path gives metrics", (status, text[:80]))
        answer = server.call("predict", "wine", "--input", work / "run/test.csv")
        expect(answer.returncode == 0, "a client with a key is answered on the port for calls", answer.stderr)

        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        until("a failing readiness probe", lambda: server.probe("readinessProbe") == 503)
        answer = server.call("predict", "wine", "--input", work / "run/test.csv")
        expect(answer.returncode == 0, "calls are answered while the pod leaves its endpoints", answer.stderr)
        status = server.process.wait(timeout=pod["spec"]["terminationGracePeriodSeconds"])
        seconds = time.monotonic() - began
        expect(status == 0, f"the server ends by itself, after {seconds:.1f} s", status)
        expect(seconds >= settings["stop"]["grace_seconds"], "and not before the grace time is over", seconds)
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        if counts["failed"]:
            sys.stderr.write((work / "log").read_text()[-3000:])


def main():
    for check in (check_schemas, check_names, check_volumes, check_times_and_limits, check_autoscaler, check_image):
        check()
    work = Path(tempfile.mkdtemp(prefix="needletail-kubernetes."))
    try:
        check_job(work)
        check_server(work)
    finally:
        shutil.rmtree(work)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    sys.exit(1 if counts["failed"] else 0)


main()
