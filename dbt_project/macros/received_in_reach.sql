{# The condition for the receipts that a window needs: its own, and earlier ones of the same events.
   The bounds are literals, because engines use zone maps and indexes for literals alone. Spark does
   not derive a partition's day from the moment, so the day is compared as well. #}
{% macro received_in_reach() -%}
    received_at >= {{ dedupe_start() }}
        and received_at < {{ window_end() }}
    {%- if var('received_on_column', none) %}
        {%- set window = export_window() %}
        {%- set last_moment = window.end - modules.datetime.timedelta(microseconds=1) %}
        and received_on >= date '{{ (window.start - dedupe_lookback()).date() }}'
        and received_on <= date '{{ last_moment.date() }}'
    {%- endif -%}
{%- endmacro %}
