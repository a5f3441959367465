#!/bin/sh
# The experiments S2 to S7 of SiLQ on a decoder trained here, three seeds each:
#
#   make build && docs/sweeps/silq-small.sh            all, in less than an hour of one core
#   docs/sweeps/silq-small.sh s2 s4                    some
#   STORIES=1 docs/sweeps/silq-small.sh                on stories260K, in minutes
#
# Each run becomes a record NAME-sSEED of the group NAME below docs/results; records
# that exist are kept, so that a script that was stopped goes on. The decoder is trained
# first if runs/go is missing (nine minutes). With STORIES it is a published one of 260
# thousand weights, the text is what that model writes itself, as its own is not here, and
# names begin with stories-. For a trial in seconds, with records thrown away:
#
#   TRIAL=1 MODEL=stories260K.bin DATA=text:books docs/sweeps/silq-small.sh
set -eu
: "${LOWBIT:=./lowbit}" "${TRIAL:=}" "${STORIES:=}" "${SEEDS:=1 2 3}" "${THREADS:=1}" "${OTHER:=../shared/data/text/tinyshakespeare.txt}"
DOCS="${DOCS:-go run ./internal/docs}"
PREFIX='' LENGTHS='' FOLDER=silq-small
if [ -n "$STORIES" ]; then
  : "${MODEL:=../shared/models/llm/stories260K/stories260K.bin}" "${DATA:=text:runs/stories.txt}" "${TOKENS:=8192}" "${LR:=1e-3}"
  PREFIX=stories- FOLDER=silq-stories LENGTHS="--text-length 64 --window-length 64 --windows 32"
fi
: "${MODEL:=runs/go}" "${DATA:=gosource:4MiB}" "${TOKENS:=65536}" "${LR:=1e-4}"
if [ -n "$TRIAL" ]; then
  SEEDS=1 TOKENS=2048 LENGTHS="--text-length 64 --window-length 64 --windows 2 --batches 2"
fi

# one NAME SEED FLAGS...: quantizes the decoder and keeps what came out.
one() {
  name=$PREFIX$1 seed=$2
  shift 2
  [ -f "docs/results/$FOLDER/$name-s$seed.json" ] && return
  echo "$name, seed $seed" >&2
  # shellcheck disable=SC2086
  "$LOWBIT" quantize --model "$MODEL" --data "$DATA" --seed "$seed" --threads "$THREADS" --out "runs/$name-s$seed" --force --json --quiet "$@" $LENGTHS >"runs/$name.json"
  [ -n "$TRIAL" ] || $DOCS keep "$FOLDER/$name-s$seed" -group "$name" "runs/$name-s$seed"
  rm -rf "runs/$name-s$seed" "runs/$name.json"
}

# silq NAME TOKENS FLAGS...: trains with each seed.
silq() {
  what=$1 tokens=$2
  shift 2
  for s in $SEEDS; do one "$what" "$s" --method silq --lr "$LR" --tokens "$tokens" "$@"; done
}

# ptq NAME FLAGS...: only rounds; nothing in it is drawn.
ptq() {
  what=$1
  shift
  one "$what" 0 --method ptq "$@"
}

# S2: precision. Static activations, a cache of 4 bits, weights of 2 bits.
s2() {
  for w in 4 2; do
    silq "s2-w${w}a8kv8" "$TOKENS" --bits "w${w}a8kv8"
    silq "s2-w${w}a8kv8-static" "$TOKENS" --bits "w${w}a8kv8" --static
    silq "s2-w${w}a8kv4" "$TOKENS" --bits "w${w}a8kv4"
  done
}

# S3: distillation or the text's own tokens, on the text of the training before and on
# another. A mixture's first set is the test and the calibration; with a weight of one in
# a million nothing is learned from it.
s3() {
  for text in same other; do
    data=$DATA
    [ $text = same ] || data="$DATA:0.000001,text:$OTHER:0.999999"
    silq "s3-$text-kd" "$TOKENS" --bits w2a8kv8 --data "$data"
    silq "s3-$text-ce" "$TOKENS" --bits w2a8kv8 --data "$data" --distill 0 --cross-entropy 1
  done
}

# S4: length of the training, from an eighth to four times; S2's w2a8kv8 is between.
s4() {
  for t in $((TOKENS / 8)) $((TOKENS / 4)) $((TOKENS / 2)) $((TOKENS * 2)) $((TOKENS * 4)); do
    silq "s4-$(printf %06d $t)" "$t" --bits w2a8kv8
  done
}

# S5: first steps of weights, after a short and a longer training; GPTQ's weights of the
# turned model, too; rates from GPTQ's weights at 4 bits; percentile or maximum of static activations; rate of their steps;
# steps that learn nothing. What they are compared with (the weighted start, percentile
# 99.99, rate 2.5) is in S2 and S4.
s5() {
  for rule in max mse convex lsq gptq; do
    silq "s5-short-$rule" $((TOKENS / 8)) --bits w2a8kv8 --init "$rule"
    silq "s5-long-$rule" "$TOKENS" --bits w2a8kv8 --init "$rule"
  done
  silq s5-long-gptq-rotated "$TOKENS" --bits w2a8kv8 --init gptq --rotate
  for r in 1e-4 3e-5 1e-5; do silq "s5-w4a8kv8-gptq-rate-$r" "$TOKENS" --bits w4a8kv8 --init gptq --lr $r; done
  for p in 99.9 100; do silq "s5-percentile-$p" "$TOKENS" --bits w4a8kv8 --static --percentile $p; done
  for f in 1 10 50; do silq "s5-step-rate-$f" "$TOKENS" --bits w4a8kv8 --static --step-lr $f; done
  silq s5-frozen-w4a8kv8-static "$TOKENS" --bits w4a8kv8 --static --step-gradient frozen
  silq s5-frozen-w2a8kv8 "$TOKENS" --bits w2a8kv8 --step-gradient frozen
}

# S6: the strongest of what only rounds, at the same bits. SiLQ's are S2's.
s6() {
  for w in 4 2; do
    for rule in max weighted gptq; do
      ptq "s6-w${w}a8kv8-$rule" --bits "w${w}a8kv8" --calibration $rule
      ptq "s6-w${w}a8kv8-static-$rule" --bits "w${w}a8kv8" --static --calibration $rule
    done
    ptq "s6-w${w}a8kv8-gptq-rotated" --bits "w${w}a8kv8" --calibration gptq --rotate
    ptq "s6-w${w}a8kv8-static-gptq-rotated" --bits "w${w}a8kv8" --static --calibration gptq --rotate
    ptq "s6-w${w}a8kv8-static-smooth" --bits "w${w}a8kv8" --static --calibration gptq --smooth 0.5
  done
}

# S7: the share of the weights' change that is a rotation stands in each record of S2, S4
# and, for GPTQ, S6: it needs no run of its own.
s7() { s2; s4; s6; }

mkdir -p runs
if [ "$MODEL" = runs/go ] && [ ! -e runs/go/last.safetensors ]; then
  "$LOWBIT" train --model llama-tiny --data "$DATA" --tokens 800000 --lr 2e-3 --threads "$THREADS" --out runs/go --json --quiet >runs/go.json
fi
if [ "$DATA" = text:runs/stories.txt ] && [ ! -e runs/stories.txt ]; then
  for s in $(seq 120); do
    "$LOWBIT" run --model "$MODEL" --prompt "Once upon a time" --tokens 400 --seed "$s" --threads "$THREADS" --quiet
  done >runs/stories.part
  mv runs/stories.part runs/stories.txt
fi
[ $# -gt 0 ] || set -- s2 s3 s4 s5 s6
for experiment; do
  case $experiment in
  s2 | s3 | s4 | s5 | s6 | s7) $experiment ;;
  *) echo "silq-small.sh: $experiment is no experiment: s2, s3, s4, s5, s6 or s7" >&2; exit 2 ;;
  esac
done
