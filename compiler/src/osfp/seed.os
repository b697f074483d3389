# What the SYNs of common systems look like, in the format of pf.os(5):
# window:ttl:df:size:options:class:version:subtype:description
# Collected for this project from what these systems' network stacks send by default.
64240:64:1:60:M*,S,T,N,W7:	Linux:5-6::Linux 5 to 6
64240:64:1:60:M*,S,T,N,W10:	Linux:6:cloud:Linux 6, large receive buffers
29200:64:1:60:M*,S,T,N,W7:	Linux:3-4::Linux 3.10 to 4.18
14600:64:1:60:M*,S,T,N,W*:	Linux:3.0-3.9::Linux 3.0 to 3.9
65535:64:1:60:M*,S,T,N,W*:	Linux:Android::Linux, Android
16384:64:1:64:M*,N,N,S,N,W6,N,N,T:	OpenBSD:6-7::OpenBSD 6 to 7
65535:64:1:60:M*,N,W6,S,T:	FreeBSD:9-14::FreeBSD 9 to 14
32768:64:1:60:M*,N,W3,S,T:	NetBSD:6-10::NetBSD 6 to 10
65535:64:1:64:M*,N,W6,N,N,T,S,E:	MacOS:12-15::macOS 12 to 15
65535:64:1:64:M*,N,W5,N,N,T,S,E:	MacOS:10::macOS 10
64240:128:1:52:M*,N,W8,N,N,S:	Windows:10-11::Windows 10 to 11
65535:128:1:52:M*,N,W8,N,N,S:	Windows:2016:Server:Windows Server 2016 and later
8192:128:1:52:M*,N,W8,N,N,S:	Windows:7-8::Windows 7 to 8
8192:128:1:52:M*,N,W2,N,N,S:	Windows:Vista::Windows Vista
65535:128:1:48:M*,N,N,S:	Windows:XP::Windows XP
