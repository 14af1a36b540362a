#include "fs/rotation/tickets.h"

#include <utility>

#include "fs/policy/key_id.h"
#include "fs/rotation/feed.h"
#include "fs/upkeep/key_versions.h"

namespace keyfs {

Task<Result<bool>> put_ticket(Board& board, Loop& loop, Random& random, Ticket ticket,
                              unsigned shards, TimePoint deadline,
                              std::function<Result<void>()> may_write) {
  if (!is_rotation_token(ticket.token) ||
      (!ticket.rotation.empty() && !is_rotation_token(ticket.rotation))) {
    co_return fail(Code::kInvalid, "a ticket's token is like a key id");
  }
  std::string text = to_text(ticket);
  if (const auto valid = parse_ticket(text);
      !valid || (!ticket.id.empty() && !is_key_id(ticket.id))) {
    co_return fail(Code::kInvalid, "a ticket that says not what is to be done");
  }
  if (may_write) {
    if (auto ok = may_write(); !ok) co_return fail(ok.error());
  }
  auto written = co_await board.put_if_absent(ticket_name(ticket.token), std::move(text), deadline);
  if (!written) co_return fail(written.error().within("the rotation could not be asked for"));
  PulseNews news;
  news.tickets = 1;
  news.may_write = std::move(may_write);
  auto told = co_await tell_pulse(board, loop, random, std::move(news), shards, deadline);
  if (!told) co_return fail(told.error().within("the rotation was asked for, and nobody told"));
  co_return written->done;
}

Task<Result<void>> take_up_again(Board& board, Loop& loop, Random& random, std::string token,
                                 unsigned shards, TimePoint deadline) {
  for (;;) {
    auto there = co_await board.get(ticket_name(token), deadline);
    if (!there) co_return fail(there.error());
    if (!*there) co_return Result<void>();
    auto ticket = parse_ticket((*there)->text);
    if (!ticket || ticket->overdue_since.empty()) co_return Result<void>();
    ticket->overdue_since.clear();
    ticket->overdue_why.clear();
    auto written =
        co_await board.replace((*there)->name, to_text(*ticket), (*there)->revision, deadline);
    if (!written) co_return fail(written.error());
    if (written->done) break;
  }
  PulseNews news;
  news.tickets = 1;
  co_return co_await tell_pulse(board, loop, random, std::move(news), shards, deadline);
}

Task<Result<TicketsSeen>> list_tickets(Board& board, TimePoint deadline) {
  TicketsSeen seen;
  std::string after;
  for (;;) {
    auto page = co_await board.list(kTicketsPrefix, after, kMaxBoardPage, deadline);
    if (!page) co_return fail(page.error());
    for (auto& name : page->corrupt) seen.corrupt.push_back(std::move(name));
    for (auto& document : page->documents) {
      auto ticket = parse_ticket(document.text);
      if (!ticket || ticket_name(ticket->token) != document.name) {
        seen.corrupt.push_back(document.name);
      } else {
        seen.tickets.push_back({std::move(*ticket), std::move(document)});
      }
    }
    if (!page->next || seen.tickets.size() >= kMaxTicketsSeen) co_return seen;
    after = std::move(*page->next);
  }
}

}  // namespace keyfs
