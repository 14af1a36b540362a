/* What a program may ask of an open file of keyfs, besides its bytes. For C and C++.
 *
 *   uint32_t version;
 *   if (ioctl(fd, KEYFS_IOC_VERSION, &version) == 0) ...
 *
 * tells which version of its key the descriptor reads, for as long as it is open. It neither waits nor
 * asks the store. ENOTTY: the file is none of keyfs's, or holds no key.
 *
 * poll(2), select(2) and epoll(7) always report such a descriptor as readable, and POLLPRI once its
 * version is no longer the one under the key's plain name on this host.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KEYFS_H
#define KEYFS_H

#include <stdint.h>
#include <sys/ioctl.h>

#define KEYFS_IOC_VERSION _IOR('k', 1, uint32_t)

#endif
