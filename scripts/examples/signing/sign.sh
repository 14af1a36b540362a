#!/bin/bash
# sign.sh MOUNTPOINT KEY FILE >SIGNATURE: signs a file by keyfs, and checks the signature with openssl.
#
# The key is pinned by its fingerprint: if it is rotated meanwhile, opening fails (ESTALE), and what was signed by another
# key than the one whose public half goes along is never handed on.
set -euo pipefail
key=$1/.keyfs/sign/$2 file=$3
pin=$key/at/$(cat "$key/fingerprint")
algorithm=$(head -n 1 "$key/algorithms")
hash=sha${algorithm##*_}
digest=$(openssl dgst "-$hash" -r <"$file" | cut -d ' ' -f 1)

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cat "$key/pub.pem" >"$work/pub.pem"
cat "$pin/$algorithm/$digest" >"$work/signature" # this open signs
options=()
if [[ $algorithm == *_PSS_* ]]; then options=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest); fi
openssl dgst "-$hash" -verify "$work/pub.pem" "${options[@]}" -signature "$work/signature" "$file" >&2
cat "$work/signature"
