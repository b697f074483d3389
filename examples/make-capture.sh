#!/usr/bin/env bash
# Makes gateway.pcap: real traffic through a Linux router between network namespaces, as the router saw it.
#
#   inet ── em0 [gateway] em1 ── lan      inet: web 198.51.100.10, DNS 198.51.100.53, a scanner 192.0.2.66
#                         em2 ── guest    gateway: 203.0.113.2, 10.0.0.1, 10.0.20.1 and IPv6, with NAT and a port forward
#
# Web by curl and a small server, DNS by dig and dnsmasq, ping (also fragmented), SSH, a port scan, a password guesser,
# a spoofed source. Nothing leaves the namespaces; they and their processes end with the script.
# Needs root and: iproute2 nftables tcpdump dnsmasq-base bind9-dnsutils openssh-server curl nmap iputils-ping python3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-gateway.pcap}
work=$(mktemp -d)
spaces=(inet gw lan guest)
declare -A resolver=([inet]=198.51.100.53 [gw]=198.51.100.53 [lan]=10.0.0.1 [guest]=10.0.20.1)

cleanup() {
  trap - EXIT
  for space in "${spaces[@]}"; do
    ip netns pids "pfx-$space" 2>/dev/null | xargs -r kill 2>/dev/null || true
    ip netns del "pfx-$space" 2>/dev/null || true
    rm -rf "/etc/netns/pfx-$space"
  done
  rm -rf "$work"
}
trap cleanup EXIT

in_space() { local space=$1; shift; ip netns exec "pfx-$space" "$@"; }
note() { printf '%s\n' "$*" >&2; }

# link INTERFACE INDEX SPACE: an interface of the gateway and its peer eth0.
link() {
  ip -n pfx-gw link add "$1" index "$2" type veth peer name eth0 netns "pfx-$3"
  ip -n pfx-gw link set "$1" up
  ip -n "pfx-$3" link set eth0 up
}

lay_network() {
  for space in "${spaces[@]}"; do
    ip netns add "pfx-$space"
    # Names are asked inside: `ip netns exec` shows this file as resolv.conf.
    mkdir -p "/etc/netns/pfx-$space"
    echo "nameserver ${resolver[$space]}" >"/etc/netns/pfx-$space/resolv.conf"
    ip -n "pfx-$space" link set lo up
    in_space "$space" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
  done
  in_space gw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0
  link em0 2 inet; link em1 3 lan; link em2 4 guest

  ip -n pfx-gw addr add 203.0.113.2/24 dev em0
  ip -n pfx-gw addr add 2001:db8::2/64 dev em0
  ip -n pfx-gw addr add 10.0.0.1/24 dev em1
  ip -n pfx-gw addr add 2001:db8:1::1/64 dev em1
  ip -n pfx-gw addr add 10.0.20.1/24 dev em2
  ip -n pfx-gw route add default via 203.0.113.1
  ip -n pfx-gw -6 route add default via 2001:db8::1

  for address in 203.0.113.1/24 198.51.100.10/32 198.51.100.53/32 192.0.2.66/32 2001:db8::1/64 2001:db8:ffff::10/128; do
    ip -n pfx-inet addr add "$address" dev eth0
  done
  ip -n pfx-inet -6 route add 2001:db8:1::/64 via 2001:db8::2
  for address in 10.0.0.20/24 10.0.0.10/24 2001:db8:1::20/64; do ip -n pfx-lan addr add "$address" dev eth0; done
  ip -n pfx-lan route add default via 10.0.0.1 src 10.0.0.20
  ip -n pfx-lan -6 route add default via 2001:db8:1::1
  ip -n pfx-guest addr add 10.0.20.30/24 dev eth0
  ip -n pfx-guest route add default via 10.0.20.1
  # The router that was there before pf: translation and one published server, no filter.
  in_space gw nft -f - <<'NFT'
table ip nat {
  chain before {
    type nat hook prerouting priority -100
    iifname "em0" ip daddr 203.0.113.2 tcp dport 80 dnat to 10.0.0.10:8080
  }
  chain after {
    type nat hook postrouting priority 100
    oifname "em0" masquerade
  }
}
NFT
}

start_servers() {
  mkdir -p "$work/www" /run/sshd
  printf 'hello from the internet\n' >"$work/www/index.html"
  ssh-keygen -q -t ed25519 -N '' -f "$work/host"; ssh-keygen -q -t ed25519 -N '' -f "$work/user"
  cp "$work/user.pub" "$work/authorized"
  local sshd=(/usr/sbin/sshd -f /dev/null -h "$work/host" -o "AuthorizedKeysFile=$work/authorized" -o StrictModes=no
    -o PidFile=none -o UsePAM=no -o "MaxStartups=100:30:200")
  in_space inet python3 -m http.server -b 198.51.100.10 -d "$work/www" 80 >/dev/null 2>&1 &
  in_space inet python3 -m http.server -b 2001:db8:ffff::10 -d "$work/www" 80 >/dev/null 2>&1 &
  in_space lan python3 -m http.server -b 10.0.0.10 -d "$work/www" 8080 >/dev/null 2>&1 &
  in_space inet dnsmasq -k -C /dev/null -u root -a 198.51.100.53 -z -R -h -A /www.example/198.51.100.10 \
    -A /www.example/2001:db8:ffff::10 -x "$work/dns-inet" >/dev/null 2>&1 &
  in_space gw dnsmasq -k -C /dev/null -u root -a 10.0.0.1 -a 10.0.20.1 -z -R -h -S 198.51.100.53 -x "$work/dns-gw" \
    >/dev/null 2>&1 &
  in_space inet "${sshd[@]}" -D -o ListenAddress=198.51.100.10 >/dev/null 2>&1 &
  in_space gw "${sshd[@]}" -D -o ListenAddress=0.0.0.0 >/dev/null 2>&1 &
  in_space lan "${sshd[@]}" -D -o ListenAddress=10.0.0.10 >/dev/null 2>&1 &
  sleep 2
}

ssh_options=(-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=3)
try() { "$@" >/dev/null 2>&1 || true; }

# A SYN to port 22 that claims to come from the LAN; the kernel fills length, id and IP checksum in.
spoof='
import socket, struct
src, dst = socket.inet_aton("10.0.0.99"), socket.inet_aton("203.0.113.2")
def syn(check):
    return struct.pack("!HHIIBBHHH", 40000, 22, 1, 0, 0x50, 2, 1024, check, 0)
words = struct.unpack("!16H", src + dst + struct.pack("!HH", 6, 20) + syn(0))
total = sum(words); total = (total & 0xffff) + (total >> 16); total = (total & 0xffff) + (total >> 16)
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
s.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 6, 0) + src + dst + syn(~total & 0xffff), ("203.0.113.2", 0))
'

make_traffic() {
  note "the LAN: names, web, ping, SSH"
  try in_space lan dig +tries=1 +time=2 -b 10.0.0.20 @10.0.0.1 www.example A
  try in_space lan dig +tries=1 +time=2 -b 10.0.0.20 @10.0.0.1 www.example AAAA
  try in_space lan curl -s --max-time 5 http://198.51.100.10/
  try in_space lan curl -s --max-time 5 'http://[2001:db8:ffff::10]/'
  try in_space lan ping -c 3 -i 0.2 198.51.100.10
  try in_space lan ping -c 2 -i 0.2 2001:db8:ffff::10
  try in_space lan ssh "${ssh_options[@]}" -i "$work/user" root@198.51.100.10 true
  try in_space lan ssh "${ssh_options[@]}" -i "$work/user" root@10.0.0.1 true
  note "fragments: datagrams of 4000 bytes, both families"
  try in_space lan ping -c 2 -i 0.2 -s 4000 198.51.100.10
  try in_space lan ping -c 1 -s 4000 2001:db8:ffff::10
  note "a guest: web is allowed, the LAN and mail are not"
  try in_space guest dig +tries=1 +time=2 @10.0.20.1 www.example A
  try in_space guest curl -s --max-time 5 http://198.51.100.10/
  try in_space guest curl -s --max-time 1 http://10.0.0.10:8080/
  try in_space guest ssh "${ssh_options[@]}" -o ConnectTimeout=1 root@10.0.0.10 true
  try in_space guest timeout 1 bash -c 'exec 3<>/dev/tcp/198.51.100.10/25'
  note "from outside: the published server, a scan, a password guesser, a spoofed source"
  try in_space inet curl -s --max-time 5 --interface 198.51.100.10 http://203.0.113.2/
  try in_space inet nmap -n -Pn -sS -S 192.0.2.66 -e eth0 --max-retries 0 -T4 -p 20-90,135-139,443-445,3389,5900,8080 203.0.113.2
  try in_space inet nmap -n -Pn -sU -S 192.0.2.66 -e eth0 --max-retries 0 -T4 -p 53,123,137,161,1900 203.0.113.2
  for _ in 1 2 3 4 5 6; do
    try in_space inet ssh "${ssh_options[@]}" -b 192.0.2.66 admin@203.0.113.2 true
  done
  try in_space inet python3 -c "$spoof"
  try in_space inet ping -c 2 -i 0.2 -I 198.51.100.10 203.0.113.2
}

lay_network
start_servers
in_space gw tcpdump -q -i any -y LINUX_SLL2 -s 0 -U -w "$work/raw.pcap" 2>"$work/tcpdump.log" &
sleep 1
make_traffic
sleep 1
ip netns pids pfx-gw | while read -r pid; do
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) != tcpdump ]] || kill -INT "$pid"
done
sleep 1
# Loopback never reaches a filter between network and host; ARP stays, to be counted.
tcpdump -r "$work/raw.pcap" -w "$work/out.pcap" 'not (host 127.0.0.1 or host ::1)' 2>/dev/null
mv "$work/out.pcap" "$out"
chmod 644 "$out"
note "$(stat -c '%n: %s bytes' "$out")"
