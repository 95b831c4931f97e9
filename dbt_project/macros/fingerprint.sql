{# A number, as text, by which two sets of rows are compared: the exclusive or of one hash for
   each row, so that the order of the rows does not matter. The columns must be texts. Each
   engine has its own hash function, so fingerprints of two engines cannot be compared. #}
{% macro fingerprint(columns) -%}
    {{ return(adapter.dispatch('fingerprint')(columns)) }}
{%- endmacro %}

{% macro default__fingerprint(columns) -%}
    cast(bit_xor(hash({{ columns | join(', ') }})) as varchar)
{%- endmacro %}

{% macro postgres__fingerprint(columns) -%}
    cast(bit_xor(hashtextextended(concat_ws(chr(31), {{ columns | join(', ') }}), 0)) as text)
{%- endmacro %}

{% macro spark__fingerprint(columns) -%}
    cast(bit_xor(xxhash64({{ columns | join(', ') }})) as string)
{%- endmacro %}
