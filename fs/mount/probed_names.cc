#include "fs/mount/probed_names.h"

#include <algorithm>
#include <array>

namespace keyfs {
namespace {

constexpr std::array<std::string_view, 16> kProbed = {
    "HEAD",                                        // git: is this a bare repository?
    "GNUmakefile",    "makefile",    "Makefile",   // make
    "build.ninja",                                 // ninja
    "package.json",                                // node, npm: in each directory up to the root
    "Cargo.toml",                                  // cargo
    "go.mod",         "go.work",                   // go
    "pyproject.toml", "setup.cfg",   "tox.ini",    // python's tools
    "Dockerfile",                                  // docker build
    "autorun.inf",    "desktop.ini", "Thumbs.db",  // file managers
};

}  // namespace

bool is_probed_name(std::string_view name) {
  return std::find(kProbed.begin(), kProbed.end(), name) != kProbed.end();
}

}  // namespace keyfs
