#!/usr/bin/env bash
# Starts a new one-machine cluster below tmp/run with samples/hello on it, or stops it.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=tmp/run
export KUBECONFIG=$dir/admin.kubeconfig

running() { [ -f $dir/pid ] && kill -0 "$(cat $dir/pid)" 2>/dev/null; }

stop() {
	running || { echo "no cluster is running"; return 0; }
	kill "$(cat $dir/pid)"
	while running; do sleep 0.1; done
	rm $dir/pid
	echo "stopped; its data stays in $dir until the next start"
}

start() {
	if running; then echo "a cluster is running already; 'make stop' ends it"; exit 1; fi
	rm -rf $dir
	mkdir -p $dir
	nohup bin/wherryd up --data-dir $dir --listen 127.0.0.1:0 --node-port-address 127.0.0.1 >$dir/out 2>$dir/log </dev/null &
	echo $! >$dir/pid
	for _ in $(seq 300); do
		grep -q ^ready: $dir/out && break
		running || { echo "the cluster did not start:"; cat $dir/log; exit 1; }
		sleep 0.1
	done
	grep ^ready: $dir/out || { echo "the cluster was not ready within 30 s:"; cat $dir/log; exit 1; }
	bin/wherry push bin/hello.wasm hello:v1
	bin/wherry apply -f samples/hello/hello.yaml
	bin/wherry rollout status deployment/hello --timeout=2m
	port=$(bin/wherry get service hello -o 'jsonpath={.spec.ports[0].nodePort}')
	for _ in 1 2 3; do echo "GET http://127.0.0.1:$port/ -> $(request "$port")"; done
	cat <<-HOW

	The cluster goes on running. To go on:
	  export KUBECONFIG=$PWD/$KUBECONFIG
	  bin/wherry get pods -o wide        # or kubectl
	  bin/wherry logs -f deployment/hello
	  bin/wherry scale deployment/hello --replicas=5
	  make stop
	HOW
}

# request asks with what every machine has.
request() {
	exec 3<>"/dev/tcp/127.0.0.1/$1"
	printf 'GET / HTTP/1.0\r\nHost: hello\r\n\r\n' >&3
	sed '1,/^\r$/d' <&3
	exec 3>&-
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) echo "usage: samples/run.sh start|stop"; exit 2 ;;
esac
