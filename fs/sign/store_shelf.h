// The shelf of wrapped signing keys in the store of data keys: records of a kind of their own.
//
// The record's id is ".sign." and the signing key's id, which no key id can be: no data key is ever
// read, created or listed under it. Its "kind" is "signing"; each version has "type" and "public"
// (the SubjectPublicKeyInfo in DER, as base64). For the rest it is a record like any other, so that
// what fills in, mends and rewraps the wraps of data keys does so here too.
//
// Names are listed from documents on the store's board (sign/ID), one for each id that ever was, so
// that a list does not cost a pass over all records. Without a board it does.
//
// Thread-safety, blocking, errors: as store/store.h. Ownership: refers to its parts, which outlive
// it.
#pragma once

#include <memory>
#include <string>

#include "base/loop.h"
#include "kms/signing/wrapped_custody.h"
#include "store/store.h"

namespace keyfs {

class HostMemory;  // fs/keys/host_memory.h
class Notebook;    // fs/keys/notebook.h

// This host's memory of records, as of data keys: what was seen of a signing key's record binds what
// the store says of it later, also after a restart (kCorrupt), and no key is made for an id unless
// this host knows that it has never seen it. Both null: there is none, and nothing is compared.
struct ShelfNotes {
  HostMemory* memory = nullptr;
  Notebook* notebook = nullptr;
};

// `creator`: of new versions, this host's name. What `notes` refers to outlives the shelf.
std::unique_ptr<SigningShelf> make_store_shelf(Loop& loop, Store& store, std::string creator,
                                               ShelfNotes notes = {});

}  // namespace keyfs
