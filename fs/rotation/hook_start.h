// Starts a hook's program so that it ends with keyfs: the kernel kills it when the thread that
// started it ends, as it does when keyfs is killed. Otherwise it would act later, unseen, beside
// the retry that an operator has ordered meanwhile.
//
// Only the program itself: what it has started lives on, and so does a program that is set-user-id
// or has file capabilities, for which the kernel drops the request.
//
// Thread-safety: a plain function. The calling thread must live until the program was reaped.
// Blocking: until the program is loaded, as long as its disk hangs. Errors: kDenied or kUnavailable.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace keyfs {

// `arguments`: the first is the program's path. `output`: a descriptor for its output, or -1 for
// /dev/null, which its input and its errors are.
Result<pid_t> start_hook(std::vector<std::string>& arguments, std::vector<std::string>& environment,
                         int output);

}  // namespace keyfs
