#include "fs/cli/check_signing.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/file.h"
#include "base/private_file.h"
#include "fs/daemon/signing_custodies.h"
#include "fs/daemon/signing_host.h"

namespace keyfs {
namespace {

CheckItem check_journal(const Configuration& configuration) {
  const std::string path = signing_options(configuration).directory;
  CheckItem item{"journal", true, path, "", false};
  struct stat about {};
  Result<void> good;
  if (::lstat(path.c_str(), &about) == 0) {
    good = check_private_directory(path);
  } else if (errno == ENOENT) {
    item.detail += ": does not exist yet";
  } else {
    good = fail(os_error(path, "cannot be examined"));
  }
  if (good) return item;
  item.ok = false;
  item.detail = good.error().message;
  item.remedy = "let the daemon's user own it: without it there are no signing keys";
  return item;
}

}  // namespace

std::vector<std::pair<std::string, std::vector<CheckItem>>> check_signing(CommandContext& context) {
  if (!signs(context.configuration.file)) return {};
  const std::string title = "signing keys";
  const auto custodies = SigningCustodies::make(context.configuration, *context.backends, {});
  if (!custodies) {
    return {{title, {{"configuration", false, custodies.error().message, "", false}}}};
  }
  std::vector<std::pair<std::string, std::vector<CheckItem>>> parts = {
      {title, {check_journal(context.configuration)}}};
  for (Custody* custody : (*custodies)->all()) {
    parts.emplace_back(title + " (" + std::string(custody->kind()) + ")",
                       context.run(custody->check(context.deadline())));
  }
  context.backends->loop().shutdown();  // before the custodies; nothing is asked after this
  return parts;
}

}  // namespace keyfs
