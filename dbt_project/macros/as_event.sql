{# The select list of a stg_email_* model: each of event_columns(), cast to its type.
   Every raw event table has the columns that are listed here. The arguments are the names of the
   columns that this table has in addition; the other columns are null. If a column has another name
   in the warehouse, or must be computed, give that name or an SQL expression:
   `as_event('os', is_machine='is_bot')`. #}
{% macro as_event() -%}
    {%- set raw_names = {} -%}
    {%- for name in [
        'brand', 'event_id', 'received_at', 'occurred_at', 'broadcast_id', 'customer_id',
        'email_address', 'is_test',
    ] + (varargs | list) -%}
        {%- do raw_names.update({name: name}) -%}
    {%- endfor -%}
    {%- do raw_names.update(kwargs) -%}
    {%- for name in raw_names if name not in event_columns() -%}
        {%- do exceptions.raise_compiler_error(
            'as_event: ' ~ name ~ ' is not a column of an event. Add it to the macro event_columns.'
        ) -%}
    {%- endfor -%}
    {%- set casts = {'text': as_text, 'instant': as_instant, 'boolean': as_boolean} -%}
    {%- for name, type in event_columns().items() -%}
        {{ casts[type](raw_names.get(name, 'null')) }} as {{ name }}
        {%- if not loop.last %},
        {% endif -%}
    {%- endfor -%}
{%- endmacro %}
