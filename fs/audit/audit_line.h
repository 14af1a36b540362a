// One audit event as a line of JSON. See fs/audit/audit.h for what it holds.
//
// Thread-safety: pure functions. Blocking: never. Errors: none; bytes that are no UTF-8, as paths
// may hold, are replaced by U+FFFD.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/audit/audit_event.h"

namespace keyfs {

// With its newline.
void append_audit_line(std::string& out, const AuditEvent& event);
// What a line says of a process, made once for all its lines (ProcessInfo::described).
std::string audit_fields(const ProcessInfo& process);
// Tells of lines that are missing before this one.
void append_lost_line(std::string& out, WallTime time, uint64_t lines, std::string_view reason);

// "EACCES"; a number for errnos that keyfs does not give.
std::string errno_name(int error);

}  // namespace keyfs
