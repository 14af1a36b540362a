// A watch's stream gives the same lines however it is split into pieces; each is a reply or not
// from etcd. The first byte determines the size of the pieces.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "store/etcd/lines.h"
#include "store/etcd/messages.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = data[0] + size_t{1};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  keyfs::EtcdLines lines(text.size());
  std::string seen;
  for (size_t at = 0; at < text.size(); at += piece) {
    require(lines.append(text.substr(at, piece)));
    while (const auto line = lines.next()) {
      require(line->find('\n') == std::string_view::npos);
      seen.append(*line).append("\n");
      const auto reply = keyfs::parse_etcd_watch_reply(*line);
      if (!reply) require(reply.error().message == "the reply is not from etcd");
    }
  }
  require(text.starts_with(seen) && text.find('\n', seen.size()) == std::string_view::npos);
  require(!lines.append(std::string(seen.size() + 1, 'x')));
  return 0;
}
