// The dnsupdate room.
