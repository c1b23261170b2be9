#!/bin/sh
# A Docker engine of its own, which touches no interface, no firewall rule and no other engine.
#
#   engine.sh start DIR     serves DIR/docker.sock; needs root
#   engine.sh stop DIR      ends it and its containers and removes DIR
#
# Containers can use the networks `host` and `none`.
set -u
action=$1 dir=$2
export DOCKER_HOST="unix://$dir/docker.sock"
PATH=$PATH:/usr/sbin

case $action in
start)
  mkdir -p "$dir"
  setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" -H "$DOCKER_HOST" \
    --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge=none --userland-proxy=false \
    --cgroup-parent=/pulsegate-test --shutdown-timeout 2 >"$dir/dockerd.log" 2>&1 </dev/null &
  daemon=$!
  for _ in $(seq 300); do
    docker version >/dev/null 2>&1 && exit 0
    kill -0 $daemon 2>/dev/null || break
    sleep 0.1
  done
  tail -5 "$dir/dockerd.log"
  exit 1
  ;;
stop)
  containerd=$(cat "$dir/exec/containerd/containerd.pid" 2>/dev/null)
  daemon=$(cat "$dir/docker.pid" 2>/dev/null)
  docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1
  if [ -n "$daemon" ]; then
    kill -TERM "$daemon" 2>/dev/null
    for _ in $(seq 100); do
      kill -0 "$daemon" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$daemon" 2>/dev/null
  fi
  # An engine that was killed leaves its containerd behind.
  [ -n "$containerd" ] && kill -TERM "$containerd" 2>/dev/null
  umount "$dir"/exec/netns/* "$dir"/data 2>/dev/null
  rm -rf "$dir"
  rmdir /sys/fs/cgroup/*/pulsegate-test /sys/fs/cgroup/pulsegate-test 2>/dev/null
  exit 0
  ;;
esac
exit 2
