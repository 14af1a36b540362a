// A run's documents on the board as a report.
//
// Thread-safety: plain functions. Blocking: never. Errors: none: what the documents do not say is
// left out.
#pragma once

#include "fs/rotation/documents.h"
#include "fs/rotation/report.h"
#include "fs/rotation/waves.h"

namespace keyfs {

RotatedKey::State state_of(RunKey::State state);
// `waits`: a retry of it was asked for, and nobody has begun it.
RunReport report_of(const RunDocument& run, const Sheets& sheets, bool waits = false);
// From the counts in the document, which lag behind the sheets by a moment.
RunSummary summary_of(const RunDocument& run, bool waits = false);

}  // namespace keyfs
