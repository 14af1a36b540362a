// How libfuse reads requests and writes answers: the one place that all of both pass.
//
// ThreadSanitizer sees through no kernel: what one FUSE thread leaves to the next (OPENDIR, READDIR
// and RELEASEDIR of one handle) is told to it here: whatever was answered came before whatever is
// received afterwards.
//
// Thread-safety: the functions may run on any threads at once. Ownership: both tables live as long
// as the program. Blocking: reading does, until there is a request. Errors: in errno, as libfuse
// wants them.
#pragma once

struct fuse_custom_io;

namespace keyfs {

// Over /dev/fuse.
const fuse_custom_io& device_io();
// Over a SOCK_SEQPACKET socket: its end reads as that of a mount.
const fuse_custom_io& socket_io();

}  // namespace keyfs
