//! Names of services and protocols, as OpenBSD's `/etc/services` and `/etc/protocols` give them.
//!
//! Holds both tables in file order, one entry a line: name, number (services: with the transport), other names.
//! The order decides which name a number prints as. Shipped, so that a rule means the same on every machine.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Transport of a service entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `name port/transport [alias …]`, in the order of the file.
const SERVICES: &str = "\
tcpmux 1/tcp
echo 7/tcp
echo 7/udp
discard 9/tcp sink null
discard 9/udp sink null
systat 11/tcp users
daytime 13/tcp
daytime 13/udp
netstat 15/tcp
qotd 17/tcp quote
msp 18/tcp
msp 18/udp
chargen 19/tcp ttytst source
chargen 19/udp ttytst source
ftp-data 20/tcp
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp mail
time 37/tcp timserver
time 37/udp timserver
rlp 39/udp resource
whois 43/tcp nicname
domain 53/tcp
domain 53/udp
bootps 67/tcp
bootps 67/udp
bootpc 68/tcp
bootpc 68/udp
tftp 69/udp
gopher 70/tcp
finger 79/tcp
www 80/tcp http
www 80/udp
kerberos 88/udp kerberos-sec
kerberos 88/tcp kerberos-sec
supdup 95/tcp
hostnames 101/tcp hostname
iso-tsap 102/tcp tsap
csnet-ns 105/tcp cso-ns
csnet-ns 105/udp cso-ns
rtelnet 107/tcp
rtelnet 107/udp
pop2 109/tcp postoffice
pop2 109/udp
pop3 110/tcp
pop3 110/udp
sunrpc 111/tcp portmap rpcbind
sunrpc 111/udp portmap rpcbind
auth 113/tcp authentication tap ident
sftp 115/tcp
uucp-path 117/tcp
nntp 119/tcp readnews untp
ntp 123/tcp
ntp 123/udp
epmap 135/tcp
epmap 135/udp
netbios-ns 137/tcp
netbios-ns 137/udp
netbios-dgm 138/tcp
netbios-dgm 138/udp
netbios-ssn 139/tcp
netbios-ssn 139/udp
imap 143/tcp imap2
imap 143/udp imap2
bftp 152/tcp
snmp 161/tcp
snmp 161/udp
snmp-trap 162/tcp snmptrap
snmp-trap 162/udp snmptrap
cmip-man 163/tcp
cmip-man 163/udp
cmip-agent 164/tcp
cmip-agent 164/udp
mailq 174/tcp
mailq 174/udp
xdmcp 177/tcp
xdmcp 177/udp
nextstep 178/tcp NeXTStep NextStep
nextstep 178/udp NeXTStep NextStep
bgp 179/tcp
bgp 179/udp
prospero 191/tcp
prospero 191/udp
irc 194/tcp
irc 194/udp
smux 199/tcp
smux 199/udp
at-rtmp 201/tcp
at-rtmp 201/udp
at-nbp 202/tcp
at-nbp 202/udp
at-echo 204/tcp
at-echo 204/udp
at-zis 206/tcp
at-zis 206/udp
z3950 210/tcp wais
z3950 210/udp wais
ipx 213/tcp
ipx 213/udp
imap3 220/tcp
imap3 220/udp
rsh-spx 222/tcp
rpki-rtr 323/tcp
rpki-rtr-tls 324/tcp
ulistserv 372/tcp
ulistserv 372/udp
ldap 389/tcp
ldap 389/udp
svrloc 427/tcp
svrloc 427/udp
nnsp 433/tcp usenet
https 443/tcp
https 443/udp
microsoft-ds 445/tcp
microsoft-ds 445/udp
kpasswd 464/tcp
kpasswd 464/udp
smtps 465/tcp ssmtp
smtps 465/udp ssmtp
photuris 468/tcp
photuris 468/udp
isakmp 500/udp
exec 512/tcp
biff 512/udp comsat
login 513/tcp
who 513/udp whod
shell 514/tcp cmd
syslog 514/udp
printer 515/tcp spooler
talk 517/udp
ntalk 518/udp
route 520/udp router routed
efs 521/tcp
ripng 521/udp
timed 525/udp timeserver
tempo 526/tcp newdate
courier 530/tcp rpc
conference 531/tcp chat
netnews 532/tcp
netwall 533/udp
uucp 540/tcp uucpd
klogin 543/tcp
kshell 544/tcp krcmd
ekshell 545/tcp
dhcpv6-client 546/tcp
dhcpv6-client 546/udp
dhcpv6-server 547/tcp
dhcpv6-server 547/udp
afpovertcp 548/tcp
afpovertcp 548/udp
rtsp 554/tcp
rtsp 554/udp
remotefs 556/tcp rfs_server rfs
nntps 563/tcp snntp
submission 587/tcp msa
submission 587/udp msa
ipp 631/tcp
ipp 631/udp
ldaps 636/tcp
ldaps 636/udp
ldp 646/tcp
ldp 646/udp
silc 706/tcp
silc 706/udp
kerberos-adm 749/udp
kerberos-adm 749/tcp
kerberos-iv 750/udp kdc
kerberos-iv 750/tcp kdc
kerberos_master 751/udp kerberos-master
kerberos_master 751/tcp kerberos-master
krb_prop 754/tcp hprop
krbupdate 760/tcp kreg
iscsi 860/tcp
domain-s 853/tcp
domain-s 853/udp
supfilesrv 871/tcp
rsync 873/tcp
cddb 888/tcp
ftps-data 989/tcp
ftps 990/tcp
imaps 993/tcp
imaps 993/udp
ircs 994/tcp
pop3s 995/tcp spop3
pop3s 995/udp spop3
socks 1080/tcp
kpop 1109/tcp
supfiledbg 1127/tcp
openvpn 1194/tcp
openvpn 1194/udp
ms-sql-s 1433/tcp
ms-sql-s 1433/udp
ms-sql-m 1434/tcp
ms-sql-m 1434/udp
ingreslock 1524/tcp
ingreslock 1524/udp
prospero-np 1525/tcp
prospero-np 1525/udp
datametrics 1645/udp
sa-msg-port 1646/udp
l2tp 1701/udp
h323gatedisc 1718/udp
h323gatestat 1719/udp
h323hostcall 1720/tcp
h323hostcall 1720/udp
pptp 1723/tcp
pptp 1723/udp
radius 1812/udp
radacct 1813/udp
ssdp 1900/udp
hsrp 1985/udp
cisco-sccp 2000/tcp
cisco-sccp 2000/udp
nfsd 2049/udp nfs
nfsd 2049/tcp nfs
gtp-c 2123/udp
gtp-u 2152/udp
eklogin 2105/tcp
rkinit 2108/tcp
kf 2110/tcp
kx 2111/tcp
kip 2112/tcp
kauth 2120/tcp
iprop 2121/tcp
cvspserver 2401/tcp
ekshell2 2106/tcp
webster 2627/tcp
webster 2627/udp
ospfd 2604/tcp
iscsi-target 3260/tcp
ldap-gc 3268/tcp
mysql 3306/tcp
rdp 3389/tcp
stun 3478/tcp
stun 3478/udp
svn 3690/tcp
svn 3690/udp
bfd-control 3784/tcp
bfd-control 3784/udp
bfd-echo 3785/tcp
bfd-echo 3785/udp
krb524 4444/udp
krb524 4444/tcp
ntske 4460/tcp
ipsec-nat-t 4500/udp ipsec-msft
vxlan 4789/udp
rfe 5002/tcp
rfe 5002/udp
sip 5060/tcp
sip 5060/udp
sips 5061/tcp
xmpp-client 5222/tcp jabber-client
xmpp-server 5269/tcp jabber-server
mdns 5353/udp
mdnsresponder 5354/tcp
mdnsresponder 5354/udp
postgresql 5432/tcp
vnc-viewer 5500/tcp
canna 5680/tcp
matter 5540/tcp
matter 5540/udp
amqp 5672/tcp
spamd-cfg 8026/tcp
x11 6000/tcp
git 9418/tcp
syslog-tls 6514/tcp
ircs-u 6697/tcp
afs3-fileserver 7000/udp
afs3-callback 7001/udp
afs3-prserver 7002/udp
afs3-vlserver 7003/udp
afs3-kaserver 7004/udp
afs3-volser 7005/udp
afs3-errors 7006/udp
afs3-bos 7007/udp
afs3-update 7008/udp
afs3-rmtsys 7009/udp
icb 7326/tcp
spamd 8025/tcp
spamd-sync 8025/udp
http-alt 8080/tcp
hunt 26740/udp
";

/// `name number [alias …]`, in the order of the file.
const PROTOCOLS: &str = "\
ip 0 IP
icmp 1 ICMP
igmp 2 IGMP
ggp 3 GGP
ipencap 4 IP-ENCAP
st2 5 ST2
tcp 6 TCP
cbt 7 CBT
egp 8 EGP
igp 9 IGP
bbn-rcc 10 BBN-RCC-MON
nvp 11 NVP-II
pup 12 PUP
argus 13 ARGUS
emcon 14 EMCON
xnet 15 XNET
chaos 16 CHAOS
udp 17 UDP
mux 18 MUX
dcn 19 DCN-MEAS
hmp 20 HMP
prm 21 PRM
xns-idp 22 XNS-IDP
trunk-1 23 TRUNK-1
trunk-2 24 TRUNK-2
leaf-1 25 LEAF-1
leaf-2 26 LEAF-2
rdp 27 RDP
irtp 28 IRTP
iso-tp4 29 ISO-TP4
netblt 30 NETBLT
mfe-nsp 31 MFE-NSP
merit-inp 32 MERIT-INP
dccp 33 DCCP
3pc 34 3PC
idpr 35 IDPR
xtp 36 XTP
ddp 37 DDP
idpr-cmtp 38 IDPR-CMTP
tp++ 39 TP++
il 40 IL
ipv6 41 IPV6
sdrp 42 SDRP
ipv6-route 43 IPV6-ROUTE
ipv6-frag 44 IPV6-FRAG
idrp 45 IDRP
rsvp 46 RSVP
gre 47 GRE
mhrp 48 MHRP
bna 49 BNA
esp 50 ESP
ah 51 AH
i-nlsp 52 I-NLSP
swipe 53 SWIPE
narp 54 NARP
mobile 55 MOBILE
skip 57 SKIP
ipv6-icmp 58 IPV6-ICMP icmp6
ipv6-nonxt 59 IPV6-NONXT
ipv6-opts 60 IPV6-OPTS
any 61 any
cftp 62 CFTP
any 63 any
sat-expak 64 SAT-EXPAK
kryptolan 65 KRYPTOLAN
rvd 66 RVD
ippc 67 IPPC
any 68 any
sat-mon 69 SAT-MON
visa 70 VISA
ipcv 71 IPCV
cpnx 72 CPNX
cphb 73 CPHB
wsn 74 WSN
pvp 75 PVP
br-sat-mon 76 BR-SAT-MON
sun-nd 77 SUN-ND
wb-mon 78 WB-MON
wb-expak 79 WB-EXPAK
iso-ip 80 ISO-IP
vmtp 81 VMTP
secure-vmtp 82 SECURE-VMTP
vines 83 VINES
ttp 84 TTP
nsfnet-igp 85 NSFNET-IGP
dgp 86 DGP
tcf 87 TCF
eigrp 88 EIGRP
ospf 89 OSPFIGP
sprite-rpc 90 Sprite-RPC
larp 91 LARP
mtp 92 MTP
ax.25 93 AX.25
ipip 94 IPIP
micp 95 MICP
scc-sp 96 SCC-SP
etherip 97 ETHERIP
encap 98 ENCAP
any 99 any
gmtp 100 GMTP
ifmp 101 IFMP
pnni 102 PNNI
pim 103 PIM
aris 104 ARIS
scps 105 SCPS
qnx 106 QNX
a/n 107 A/N
ipcomp 108 IPComp
snp 109 SNP
compaq-peer 110 Compaq-Peer
ipx-in-ip 111 IPX-in-IP
carp 112 CARP vrrp
pgm 113 PGM
l2tp 115 L2TP
ddx 116 DDX
iatp 117 IATP
stp 118 STP
srp 119 SRP
uti 120 UTI
smp 121 SMP
sm 122 SM
ptp 123 PTP
isis 124 ISIS
fire 125 FIRE
crtp 126 CRTP
crudp 127 CRUDP
sscopmce 128 SSCOPMCE
iplt 129 IPLT
sps 130 SPS
pipe 131 PIPE
sctp 132 SCTP
fc 133 FC
rsvp-e2e-ignore 134 RSVP-E2E-IGNORE
mobility-header 135 Mobility-Header
udplite 136 UDPLite
mpls-in-ip 137 MPLS-IN-IP
manet 138 MANET
hip 139 HIP
shim6 140 SHIM6
wesp 141 WESP
rohc 142 ROHC
pfsync 240 PFSYNC
reserved 255 Reserved
";

/// A table, read.
struct Names {
    /// The number of a name, of a service with its transport; of equal ones the first.
    numbers: HashMap<(&'static str, Option<Transport>), u16>,
    /// The name a number prints as.
    names: HashMap<(u16, Option<Transport>), &'static str>,
    /// The names of each line, the one it prints as first.
    lines: Vec<Vec<&'static str>>,
}

static SERVICE: LazyLock<Names> = LazyLock::new(|| Names::read(SERVICES));
static PROTOCOL: LazyLock<Names> = LazyLock::new(|| Names::read(PROTOCOLS));

impl Names {
    fn read(text: &'static str) -> Self {
        let mut read = Self { numbers: HashMap::new(), names: HashMap::new(), lines: Vec::new() };
        for line in text.lines() {
            let mut words: Vec<_> = line.split_whitespace().collect();
            let at = words.remove(1);
            let (number, transport) = match at.split_once('/') {
                Some((number, "tcp")) => (number, Some(Transport::Tcp)),
                Some((number, _)) => (number, Some(Transport::Udp)),
                None => (at, None),
            };
            let Ok(number) = number.parse() else { continue };
            for name in &words {
                read.numbers.entry((name, transport)).or_insert(number);
            }
            read.names.entry((number, transport)).or_insert(words[0]);
            read.lines.push(words);
        }
        read
    }
}

/// `getservbyname`: the port of a service name or one of its other names.
pub(super) fn service_port(name: &str, transport: Transport) -> Option<u16> {
    SERVICE.numbers.get(&(name, Some(transport))).copied()
}

/// Every name of a service.
pub(super) fn service_names() -> impl Iterator<Item = &'static str> {
    SERVICE.lines.iter().flatten().copied()
}

/// Every name of a protocol.
pub(super) fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOL.lines.iter().filter_map(|names| names.first().copied()).chain(["icmp6", "vrrp"])
}

/// `getservbyport`: the first name of a port.
pub(super) fn service_name(port: u16, transport: Transport) -> Option<&'static str> {
    SERVICE.names.get(&(port, Some(transport))).copied()
}

/// `getprotobyname`: the number of a protocol name or one of its other names.
pub(super) fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOL.numbers.get(&(name, None)).and_then(|number| u8::try_from(*number).ok())
}

/// `getprotobynumber`: the first name of a protocol number.
#[must_use]
pub fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOL.names.get(&(number.into(), None)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole() {
        assert_eq!(SERVICE.lines.len(), SERVICES.lines().count());
        assert_eq!(PROTOCOL.lines.len(), PROTOCOLS.lines().count());
    }

    #[test]
    fn first_name_prints_and_every_name_reads() {
        assert_eq!(protocol_number("icmp6"), Some(58));
        assert_eq!(protocol_name(58), Some("ipv6-icmp"));
        assert_eq!(protocol_number("vrrp"), Some(112));
        assert_eq!(protocol_name(112), Some("carp"));
        assert_eq!(service_port("http", Transport::Tcp), Some(80));
        assert_eq!(service_name(80, Transport::Tcp), Some("www"));
        assert_eq!(service_port("tftp", Transport::Tcp), None);
    }
}
