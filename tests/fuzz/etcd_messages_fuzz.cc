// Any bytes from etcd's port are a reply, a line of a watch, a refusal, or an error in our own
// words.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "store/etcd/error.h"
#include "store/etcd/messages.h"

namespace {

constexpr size_t kMaxWords = 1000;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_refusal(const keyfs::EtcdRefusal& refusal, std::string_view text) {
  require(refusal.words.size() <= text.size() + kMaxWords);
  for (const char* user : {"", "app"}) {
    const auto failure = keyfs::to_failure(refusal, 400, user);
    require(!failure.error.message.empty());
    require(failure.error.message.find('\n') == std::string::npos);
    // Fixed text and numbers, however long the refusal was.
    require(failure.error.message.size() < 200);
  }
}

void check_reply(const keyfs::EtcdReply& reply, int depth) {
  require(depth <= 2);
  for (const auto& response : reply.responses) check_reply(response, depth + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto reply = keyfs::parse_etcd_reply(text);
  if (reply) {
    require(reply->header.cluster_id != 0);
    check_reply(*reply, 0);
  } else {
    require(reply.error().code == keyfs::Code::kUnavailable);
    require(reply.error().message == "the reply is not from etcd");
  }
  const auto line = keyfs::parse_etcd_watch_reply(text);
  if (!line) {
    require(line.error().message == "the reply is not from etcd");
  } else if (line->refusal) {
    check_refusal(*line->refusal, text);
  }
  check_refusal(keyfs::parse_etcd_refusal(text), text);

  // Our requests are well-formed whatever the names are.
  keyfs::EtcdRange range{std::string(text)};
  range.range_end = keyfs::end_of_prefix(range.key);
  require(range.range_end > range.key || range.range_end == std::string(1, '\0'));
  require(keyfs::to_json(range).starts_with("{\"key\":"));
  return 0;
}
