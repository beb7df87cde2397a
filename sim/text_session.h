#pragma once
// The smallest protocol that reaches the store: one line in, one line out, for workloads of the
// simulator that are about agreement and not about a wire format. Numbers are decimal; keys and
// values hold no blanks.
//
//   client                                          member, behind the number of the call
//   <call> put <key> <value> [<client>/<sequence>]  ok <revision>
//   <call> get <key>                                value <revision> <mod> <value>
//   <call> local <key>    (serializable)            absent <revision>
//   <call> cas <key> <expect|-> <value>             swapped <revision>, or kept <revision>
//   <call> delete <key>                             deleted <revision> <count>
//   <call> compact <revision>                       compacted <revision>
//                                                   error <code>

#include <memory>
#include <string>

#include "api/session.h"

namespace conclave::sim {

std::unique_ptr<api::Session> make_text_session();

}  // namespace conclave::sim
