// One audit event as a line of JSON. See fs/audit/audit.h for its fields.
//
// Thread-safety: pure functions. Blocking: never. Errors: none; bytes that are not UTF-8, as in
// some paths, are replaced by U+FFFD.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/audit/audit_event.h"

namespace keyfs {

// Includes the newline.
void append_audit_line(std::string& out, const AuditEvent& event);
// What a line says about a process, built once for all its lines (ProcessInfo::described).
std::string audit_fields(const ProcessInfo& process);
// The line about missing lines before this one.
void append_lost_line(std::string& out, WallTime time, uint64_t lines, std::string_view reason);

// "EACCES"; a number for errnos that keyfs does not use.
std::string errno_name(int error);

}  // namespace keyfs
